"""Operators of random networks by value: masks, comparisons, statistics, and rarer layers."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from sample_models.random_networks import operation
from sample_models.random_writer import MOST, MOST_AXES, Writer

__all__ = ["Values"]

# Of positions along an axis, all alike.
STATISTICS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "normalize": lambda x, axis: F.normalize(x, dim=axis),
    "log_softmax": lambda x, axis: x.log_softmax(axis),
    "softmin": lambda x, axis: F.softmin(x, axis),
    "logsumexp": lambda x, axis: x.logsumexp(axis, keepdim=True),
    "var": lambda x, axis: x.var(axis, keepdim=True),
    "norm": lambda x, axis: x.norm(dim=axis, keepdim=True),
    "prod": lambda x, axis: x.prod(axis, keepdim=True),
    "amin": lambda x, axis: x.amin(axis, keepdim=True),
    "centre": lambda x, axis: x - x.mean(axis, keepdim=True),
    "gate": lambda x, axis: x * x.mean(axis, keepdim=True).sigmoid(),
    "above": lambda x, axis: x * (x > x.mean(axis, keepdim=True)),
    "any": lambda x, axis: x + (x > 0.5).any(axis, keepdim=True),
    "rms_norm": lambda x, axis: F.rms_norm(x, x.shape[-1:]),
    "aminmax": lambda x, axis: torch.stack(x.aminmax(dim=axis, keepdim=True), 1).flatten(1, 2),
}
# Of two tensors of one shape, element by element.
COMPARED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "where": lambda x, y: torch.where(x > y, x, 0.5 * y),
    "maximum": torch.maximum,
    "fmin": torch.fmin,
    "sub": lambda x, y: x - y,
    "div": lambda x, y: x / (1 + y.abs()),
    "atan2": torch.atan2,
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "addcmul": lambda x, y: torch.addcmul(x, x, y),
    "complex": lambda x, y: (torch.complex(x, y) * torch.complex(y, x + 1)).real,
}
# Of two tensors of one shape, of at least two axes.
TOGETHER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cdist": torch.cdist,
    "matmul": lambda x, y: x @ y.transpose(-1, -2),
    "kernel": lambda x, y: (x @ y.transpose(-1, -2)).softmax(-1) @ y,
    "gram": lambda x, y: (x.transpose(-1, -2) @ y).softmax(-1),
    "attend": lambda x, y: F.scaled_dot_product_attention(x[:, None], y[:, None], x[:, None])[:, 0],
    "cosine": lambda x, y: F.cosine_similarity(x, y, dim=-1).unsqueeze(-1),
    "pairwise": lambda x, y: F.pairwise_distance(x, y),
    "interleave": lambda x, y: torch.stack([x, y], -1).flatten(-2),
}
# How a weight is made of parameters.
MADE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "standardised": lambda w, g: (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 0.1),
    "normed": lambda w, g: g[:, None] * F.normalize(w, dim=1),
    "batch_norm": lambda w, g: F.batch_norm(w[None], None, None, training=True)[0],
    "layer_norm": lambda w, g: F.layer_norm(w.reshape(-1), (w.numel(),)).view_as(w),
    "softmax": lambda w, g: w.softmax(0),
    "scaled": lambda w, g: w * g[:, None],
    "added": lambda w, g: w + g[:, None] @ g[None, :1].expand(1, w.shape[1]),
}


@operation
def statistic(x: Tensor, *, axis: int, kind: str) -> Tensor:
    return STATISTICS[kind](x, axis)


@operation
def compared(x: Tensor, y: Tensor, *, kind: str) -> Tensor:
    return COMPARED[kind](x, y)


@operation
def together(x: Tensor, y: Tensor, *, kind: str) -> Tensor:
    return TOGETHER[kind](x, y)


@operation
def masked(x: Tensor, *, shape: tuple[int, ...], bits: tuple[bool, ...]) -> Tensor:
    return x.masked_fill(torch.tensor(bits, device=x.device).view(shape), 0.5)


@operation
def chosen(x: Tensor, y: Tensor, *, shape: tuple[int, ...], bits: tuple[bool, ...]) -> Tensor:
    return torch.where(torch.tensor(bits, device=x.device).view(shape), x, y)


@operation
def table(
    x: Tensor, rows: Tensor, *, shape: tuple[int, ...], numbers: tuple[int, ...], embedding: bool
) -> Tensor:
    """A table's rows, added by number: relative positions."""
    index = torch.tensor(numbers, device=x.device)
    read = F.embedding(index, rows) if embedding and rows.ndim == 2 else rows[index]
    return x + read.view(shape)


@operation
def made(x: Tensor, weight: Tensor, gain: Tensor, *, axis: int, kind: str) -> Tensor:
    return F.linear(x.movedim(axis, -1), MADE[kind](weight, gain)).movedim(-1, axis)


@operation
def batch_norm(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var.abs() + 0.5, weight, bias)


@operation
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    return F.prelu(x, weight)


@operation
def strided(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, kind: str) -> Tensor:
    if kind == "transposed":
        return F.conv_transpose1d(x, weight, stride=2, groups=groups)
    options = {"dilation": 2, "padding": 2} if kind == "dilated" else {"stride": 2, "padding": 1}
    return F.conv1d(x, weight, bias, groups=groups, **options)


@operation
def biased(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@operation
def cells(x: Tensor, *parameters: Tensor, kind: str) -> Tensor:
    zeros = x.new_zeros(1, x.shape[0], parameters[1].shape[1])
    function: Any = torch.gru if kind == "gru" else torch.rnn_tanh
    found: Tensor = function(x, zeros, list(parameters), True, 1, 0.0, False, False, True)[0]
    return found


@operation
def bilinear(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return F.bilinear(x, y, weight)


class Values(Writer):
    """Draws them."""

    def _new_statistic(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] > 1 and 2 * prod(shape) <= MOST:
            self._add("statistic", [n], axis=axis, kind=self._pick([*STATISTICS]))

    def _new_compared(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("compared", [n, self._like(shape)], kind=self._pick([*COMPARED]))

    def _new_together(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        fits = prod(shape) // min(shape[-2:]) * max(shape[-2:]) <= MOST // 2
        if 2 <= len(shape) < MOST_AXES and fits:
            self._add("together", [n, self._like(shape)], kind=self._pick([*TOGETHER]))

    def _new_masked(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if prod(shape) <= MOST // 4:
            self._add("masked", [n], **self._mask(shape))

    def _new_chosen(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if prod(shape) <= MOST // 4:
            self._add("chosen", [n, self._like(shape)], **self._mask(shape))

    def _mask(self, shape: tuple[int, ...]) -> dict[str, Any]:
        kept = tuple(size if self.draw(st.booleans()) else 1 for size in shape)
        return {"shape": kept, "bits": tuple(self.draw(st.booleans()) for _ in range(prod(kept)))}

    def _new_table(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        """Numbers along one axis; a row is one value, or as wide as the next axis."""
        rows, wide = self._pick([2, 3, 4]), axis < len(shape) and self.draw(st.booleans())
        axes = (axis, axis + 1) if wide else (axis,)
        parameter = self._parameter(rows, *(shape[a - 1] for a in axes[1:]))
        self._add(
            "table",
            [n],
            [parameter],
            shape=tuple(size if a in axes else 1 for a, size in enumerate(shape, 1)),
            numbers=tuple(self._pick(range(rows)) for _ in range(shape[axis - 1])),
            embedding=self.draw(st.booleans()),
        )

    def _new_made(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size, new = shape[axis - 1], self._pick([2, 3, 4])
        if size > 1 and prod(shape) // size * new <= MOST:
            both = [self._parameter(new, size), self._parameter(new)]
            self._add("made", [n], both, axis=axis, kind=self._pick([*MADE]))

    def _new_batch_norm(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) < MOST_AXES:
            self._add("batch_norm", [n], [self._parameter(shape[0]) for _ in range(4)])

    def _new_prelu(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("prelu", [n], [self._parameter(self._pick([1, shape[0]]))])

    def _new_strided(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) != 2 or shape[1] < 3:
            return
        channels, length = shape
        groups = self._pick([g for g in range(1, channels + 1) if channels % g == 0])
        kind, each = self._pick(["transposed", "dilated", "strided"]), self._pick([1, 2])
        if groups * each * length * 3 > MOST:
            return
        sizes = (channels, each) if kind == "transposed" else (groups * each, channels // groups)
        weight = self._parameter(*sizes, 3)
        bias = self._parameter(groups * each)
        self._add("strided", [n], [weight, bias], groups=groups, kind=kind)

    def _new_biased(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) == 3:
            heads, tokens, _ = shape
            bias = self._parameter(self._pick([1, heads]), tokens, tokens)
            self._add("biased", [n, self._like(shape), self._like(shape)], [bias])

    def _new_cells(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        units, kind = self._pick([2, 3]), self._pick(["gru", "rnn"])
        if len(shape) == 2 and shape[0] * units <= MOST:
            rows = (3 if kind == "gru" else 1) * units
            each = [(rows, shape[1]), (rows, units), (rows,), (rows,)]
            self._add("cells", [n], [self._parameter(*s) for s in each], kind=kind)

    def _new_bilinear(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        new = self._pick([2, 3])
        if prod(shape[:-1]) * new <= MOST:
            weight = self._parameter(new, shape[-1], shape[-1])
            self._add("bilinear", [n, self._like(shape)], [weight])
