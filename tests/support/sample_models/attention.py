"""Attention in all the layouts found in the wild, around one stream of 12 units."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, L

__all__ = ["CASES", "Fused"]

D, H, E, T = 12, 3, 4, 5  # stream, heads, head dims, tokens


class _Block(nn.Module):
    """Embedding, one residual attention, and an output layer; attention is given."""

    def __init__(self, attention: nn.Module, *, scale: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(7, D)
        self.norm = nn.LayerNorm(D)
        self.attention = attention
        self.gamma = nn.Parameter(torch.full((D,), 1e-6)) if scale else None
        self.head = nn.Linear(D, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.attention(self.norm(x))
        return self.head(x + (y if self.gamma is None else y * self.gamma))


class Fused(nn.Module):
    """One projection for query, key and value, heads outside or inside the three."""

    def __init__(
        self,
        layout: str,
        written_out: bool = False,
        *,
        stream: int = D,
        heads: int = H,
        dims: int = E,
    ) -> None:
        super().__init__()
        self.layout, self.written_out, self.heads, self.dims = layout, written_out, heads, dims
        self.qkv, self.proj = nn.Linear(stream, 3 * heads * dims), nn.Linear(heads * dims, stream)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        heads, dims = self.heads, self.dims
        x = self.qkv(x)
        if self.layout == "3hd":
            q, k, v = x.reshape(b, t, 3, heads, dims).permute(2, 0, 3, 1, 4).unbind(0)
        elif self.layout == "h3d":
            q, k, v = x.view(b, t, heads, 3, dims).permute(3, 0, 2, 1, 4).unbind(0)
        elif self.layout == "h(3d)":
            q, k, v = x.view(b, t, heads, 3 * dims).transpose(1, 2).chunk(3, -1)
        else:
            q, k, v = (p.view(b, t, heads, dims).transpose(1, 2) for p in x.split(heads * dims, -1))
        if self.written_out:
            out = (q * dims**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, t, heads * dims))


class _Raw(nn.Module):
    """Weights of three axes in einsum, as in the modular-addition transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.zeros(H, E, D)) for _ in range(3))
        self.W_O = nn.Parameter(torch.zeros(D, H * E))
        self.register_buffer("mask", torch.ones(T, T).tril())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("hed,btd->bhte", w, x) for w in (self.W_Q, self.W_K, self.W_V))
        scores = torch.einsum("bhke,bhqe->bhqk", k, q).tril() - 1e10 * (1 - self.mask)
        out = torch.einsum("bhke,bhqk->bhqe", v, F.softmax(scores / E**0.5, -1))
        return torch.einsum("dm,bqm->bqd", self.W_O, out.transpose(1, 2).flatten(2))


class _Grouped(nn.Module):
    """Two key/value heads for four query heads."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style
        self.q, self.k, self.v = nn.Linear(D, 4 * E), nn.Linear(D, 2 * E), nn.Linear(D, 2 * E)
        self.o = nn.Linear(4 * E, D)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, 4, E).transpose(1, 2)
        k, v = (f(x).view(b, t, 2, E).transpose(1, 2) for f in (self.k, self.v))
        if self.style == "expand":
            k, v = (y[:, :, None].expand(b, 2, 2, t, E).reshape(b, 4, t, E) for y in (k, v))
        elif self.style == "interleave":
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.style == "gqa")
        return self.o(out.transpose(1, 2).reshape(b, t, 4 * E))


class _Rotary(nn.Module):
    """Rotary embedding of ``rotated`` of the query/key dims, in halves or interleaved pairs."""

    def __init__(self, rotated: int, interleaved: bool = False) -> None:
        super().__init__()
        self.rotated, self.interleaved = rotated, interleaved
        self.q, self.k, self.v, self.o = (nn.Linear(D, 3 * 6 if i < 3 else D) for i in range(4))
        self.o = nn.Linear(18, D)
        angle = torch.arange(T)[:, None] * 0.3 ** torch.arange(rotated // 2)
        angle = angle.repeat_interleave(2, -1) if interleaved else torch.cat([angle, angle], -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def rotate(self, x: Tensor) -> Tensor:
        turned, passed = x[..., : self.rotated], x[..., self.rotated :]
        if self.interleaved:
            even, odd = turned[..., ::2], turned[..., 1::2]
            half = torch.stack([-odd, even], -1).flatten(-2)
        else:
            low, high = turned.chunk(2, -1)
            half = torch.cat([-high, low], -1)
        turned = turned * self.cos + half * self.sin
        return torch.cat([turned, passed], -1)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, 3, 6).transpose(1, 2) for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return self.o(out.transpose(1, 2).reshape(b, t, 18))


class _NormedHeads(nn.Module):
    """Query and key norms whose weight of head-dim size is shared by all heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * H * E), nn.Linear(H * E, D)
        self.q_norm, self.k_norm = nn.LayerNorm(E), nn.LayerNorm(E)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, H, E).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(out.transpose(1, 2).reshape(b, t, H * E))


class _BiasTable(nn.Module):
    """Relative position bias: a table with one column per head, read by a constant index."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * H * E), nn.Linear(H * E, D)
        self.table = nn.Parameter(torch.zeros(2 * T - 1, H))
        index = torch.arange(T)[:, None] - torch.arange(T)[None] + T - 1
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, H, E).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(t, t, H).permute(2, 0, 1)[None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(b, t, H * E))


class _TalkingHeads(nn.Module):
    """Scores mixed across heads before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * H * E), nn.Linear(H * E, D)
        self.before, self.after = nn.Linear(H, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, H, E).permute(2, 0, 3, 1, 4)
        scores = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).softmax(2)
        scores = self.after(scores).permute(0, 3, 1, 2)
        return self.proj((scores @ v).transpose(1, 2).reshape(b, t, H * E))


class _Gated(nn.Module):
    """A gated feed-forward layer: gate and value are one set of units."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style
        self.up, self.down = nn.Linear(D, 16), nn.Linear(8, D)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        if self.style == "glu":
            return self.down(F.glu(x, -1))
        gate, value = (x[..., :8], x[..., 8:]) if self.style == "slices" else x.chunk(2, -1)
        return self.down(F.silu(gate) * value)


class _Registers(nn.Module):
    """A class token, register tokens without positions, and patches with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(7, D)
        self.cls = nn.Parameter(torch.zeros(1, 1, D))
        self.registers = nn.Parameter(torch.zeros(1, 4, D))
        self.positions = nn.Parameter(torch.zeros(1, T, D))
        self.norm, self.attention = nn.LayerNorm(D), Fused("3hd")
        self.inner, self.outer = nn.Linear(D, 8), nn.Linear(8, D)
        self.head = nn.Linear(D, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions
        b = x.shape[0]
        x = torch.cat([self.cls.expand(b, -1, -1), self.registers.expand(b, -1, -1), x], 1)
        x = x + self.attention(self.norm(x))
        x = x + self.outer(F.gelu(self.inner(x)))
        x = x + self.attention(self.norm(x))
        return self.head(x[:, 0])


class _Tied(nn.Module):
    """A language model whose unembedding is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, D)
        self.positions = nn.Embedding(T, D)
        self.block = Fused("3hd")
        self.unembed = nn.Linear(D, 11, bias=False)
        self.unembed.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(T, device=tokens.device))
        return self.unembed(x + self.block(x))


class _ModAdd(nn.Module):
    """The modular-addition transformer: one layer, no norm, raw weights."""

    def __init__(self) -> None:
        super().__init__()
        self.W_E, self.W_U = (nn.Parameter(torch.zeros(D, 11)) for _ in range(2))
        self.W_pos = nn.Parameter(torch.zeros(T, D))
        self.attn = _Raw()
        self.W_in, self.W_out = nn.Parameter(torch.zeros(16, D)), nn.Parameter(torch.zeros(D, 16))
        self.b_in, self.b_out = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.zeros(D))

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.einsum("dbp->bpd", self.W_E[:, tokens]) + self.W_pos[: tokens.shape[-1]]
        x = x + self.attn(x)
        inner = F.relu(torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in)
        x = x + torch.einsum("dm,bpm->bpd", self.W_out, inner) + self.b_out
        return x @ self.W_U


def _case(attention: Callable[[], nn.Module], order: float, **kwargs: Any) -> Case:
    """The stream D is free; ``order`` is what the attention adds."""
    return Case(lambda: _Block(attention(), **kwargs), _sequence, L(D) + order)


def _sequence() -> tuple[Tensor]:
    return (torch.zeros(2, T, 7),)


def _tokens() -> tuple[Tensor]:
    return (torch.arange(2 * T).view(2, T),)


# Heads; in each head own dims for query/key and own dims for value.
_HEADS = L(H) + 2 * H * L(E)
# Key/value heads, two query heads in each, query/key and value dims of each key/value head.
_GROUPED = L(2) + 2 * L(2) + 4 * L(E)

CASES: dict[str, Case] = {
    **{
        f"attention_{layout}{'_written_out' if written_out else ''}": _case(
            lambda layout=layout, written_out=written_out: Fused(layout, written_out), _HEADS
        )
        for layout in ("3hd", "h3d", "h(3d)", "split")
        for written_out in (False, True)
    },
    "attention_einsum": _case(_Raw, _HEADS),
    **{
        f"grouped_query_{style}": _case(lambda style=style: _Grouped(style), _GROUPED)
        for style in ("expand", "interleave", "gqa")
    },
    # All 6 query/key dims are turned by angles of their own: only heads and value dims are free.
    "rotary_full": _case(lambda: _Rotary(6), L(3) + 3 * L(6)),
    "rotary_full_interleaved": _case(lambda: _Rotary(6, True), L(3) + 3 * L(6)),
    # Two dims are turned, four are not.
    "rotary_partial": _case(lambda: _Rotary(2), L(3) + 3 * (L(6) + L(4))),
    "rotary_partial_interleaved": _case(lambda: _Rotary(2, True), L(3) + 3 * (L(6) + L(4))),
    # Norm weights have no head: one order of query/key dims for all heads, values as ever.
    "normed_heads": _case(_NormedHeads, L(H) + L(E) + H * L(E)),
    "relative_bias": _case(_BiasTable, _HEADS),
    # Heads before, between and after the mixing are three sets.
    "talking_heads": _case(_TalkingHeads, 3 * L(H) + 2 * H * L(E)),
    "layer_scale": _case(lambda: Fused("3hd"), _HEADS, scale=True),
    **{
        f"gated_{style}": _case(lambda style=style: _Gated(style), L(8))
        for style in ("chunk", "glu", "slices")
    },
    # Registers carry no position: an unordered set.
    "registers": Case(_Registers, _sequence, L(D) + _HEADS + L(8) + L(4)),
    "tied_embedding": Case(_Tied, _tokens, L(D) + _HEADS),
    "modular_addition": Case(_ModAdd, _tokens, L(D) + _HEADS + L(16)),
}
