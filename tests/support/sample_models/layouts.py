"""Plain networks and unusual layouts: stacked parameters, experts, slices, shared layers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, L

__all__ = ["CASES", "RawWeights"]


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


class _Stacked(nn.Module):
    """Parameters of two layers in one tensor, taken out by number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2, 6))
        self.layers = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.layers[0](x) * self.scale[0])
        x = F.relu(self.layers[1](x) * self.scale[1])
        return self.layers[2](x)


class _StackedLayers(nn.Module):
    """Weights of three layers in one tensor, unbound; each layer has units of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.weight, self.bias = nn.Parameter(torch.zeros(2, 6, 6)), nn.Parameter(torch.zeros(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for weight, bias in zip(self.weight.unbind(0), self.bias.unbind(0), strict=True):
            x = F.relu(F.linear(x, weight, bias))
        return self.last(x)


class _Experts(nn.Module):
    """All experts on every token, weighed by a softmax router."""

    def __init__(self, style: str, experts: int = 3, units: int = 5) -> None:
        super().__init__()
        self.style = style
        self.embed, self.router = nn.Linear(4, 6), nn.Linear(6, experts)
        self.up = nn.Parameter(torch.zeros(experts, units, 6))
        self.down = nn.Parameter(torch.zeros(experts, 6, units))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        gates = self.router(x).softmax(-1)
        if self.style == "einsum":
            inner = F.gelu(torch.einsum("bd,eid->bei", x, self.up))
            made = torch.einsum("bei,edi->bed", inner, self.down)
            return self.head(x + torch.einsum("be,bed->bd", gates, made))
        tokens = x.unsqueeze(0).expand(self.up.shape[0], -1, -1)
        inner = F.gelu(torch.bmm(tokens, self.up.transpose(1, 2)))
        made = torch.bmm(inner, self.down.transpose(1, 2))
        return self.head(x + (made * gates.t().unsqueeze(-1)).sum(0))


class _Recurrent(nn.Module):
    """One layer used three times: its input and output units are one set."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(4, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = torch.tanh(self.shared(x))
        return self.last(x)


class _Siamese(nn.Module):
    """Two inputs through one layer, joined, one part slices only."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(4, 7), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.shared(x), self.shared(-x)
        return self.last(torch.cat([a.relu(), b.relu()[:, :3]], 1))


class _Read(nn.Module):
    """All units are read together, and ranges of them by layers of their own."""

    def __init__(self, *ranges: tuple[int, int]) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 3)
        self.ranges = ranges
        self.of_ranges = nn.ModuleList(nn.Linear(high - low, 3) for low, high in ranges)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x).tanh()
        out: Tensor = self.out(x)
        for layer, (low, high) in zip(self.of_ranges, self.ranges, strict=True):
            out = out + layer(x[:, low:high])
        return out


class _InPlace(nn.Module):
    """A buffer of zeros filled part by part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 5), nn.Linear(4, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = x.new_zeros(x.shape[0], 8)
        out[:, :5] = self.a(x).relu_()
        out[:, 5:] += self.b(x)
        return self.last(out.relu_())


class _Mixer(nn.Module):
    """Token mixing over hidden tokens made by a linear layer over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.embed = nn.Linear(6, 5), nn.Linear(4, 7)
        self.mix, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.norm, self.out = nn.LayerNorm(7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(self.tokens(x.transpose(1, 2)).transpose(1, 2)))
        return self.out(self.head(F.relu(self.mix(x.transpose(1, 2)))).transpose(1, 2))


class _OuterProduct(nn.Module):
    """A matrix of hidden units, flattened: rows and columns are permuted apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 5), nn.Linear(4, 3), nn.Linear(15, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.a(x)[:, :, None] * self.b(x)[:, None, :]).tanh().flatten(1))


class _Gram(nn.Module):
    """A set against itself: the units stand twice in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last = nn.Linear(4, 5), nn.Linear(25, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.last((x[:, :, None] * x[:, None, :]).tanh().flatten(1))


class _Flip(nn.Module):
    """A set added to its own mirror image: pairs, and the two of each pair, may be swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.last(torch.tanh(x + x.flip(-1)))


class RawWeights(nn.Module):
    """Weights that are no layer's: einsum, matrix products either way round, experts, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Parameter(torch.randn(3, 4, 6))
        self.heads_bias = nn.Parameter(torch.randn(3, 1, 4))
        self.mixed = nn.Parameter(torch.randn(12, 7))
        self.bias = nn.Parameter(torch.randn(7))
        self.turned = nn.Parameter(torch.randn(5, 7))
        self.experts = nn.Parameter(torch.randn(4, 6, 5))
        self.left = nn.Parameter(torch.randn(3, 6))
        self.out = nn.Parameter(torch.randn(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("btd,hed->bhte", x, self.heads) + self.heads_bias
        x = x.tanh().transpose(1, 2).flatten(2)
        x = F.gelu(x @ self.mixed + self.bias)
        x = F.relu(x @ self.turned.T)
        x = torch.bmm(x.transpose(0, 1), self.experts.transpose(1, 2)).relu()
        x = torch.matmul(self.left, x.transpose(1, 2)).transpose(1, 2).tanh()
        return x @ self.out


def _rows(width: int = 4) -> tuple[Tensor]:
    return (torch.zeros(2, width),)


CASES: dict[str, Case] = {
    "mlp": Case(_mlp, _rows, L(8) + L(6)),
    # Row 0 and row 1 belong to different layers.
    "stacked_scales": Case(_Stacked, _rows, 2 * L(6)),
    "stacked_layers": Case(_StackedLayers, _rows, 3 * L(6)),
    # Experts, and in each expert its own units; the stream of 6.
    "experts_einsum": Case(lambda: _Experts("einsum"), _rows, L(6) + L(3) + 3 * L(5)),
    "experts_bmm": Case(lambda: _Experts("bmm"), _rows, L(6) + L(3) + 3 * L(5)),
    "recurrent": Case(_Recurrent, _rows, L(7)),
    # Units 0..2 and 3..6 are told apart by the slice.
    "siamese_slice": Case(_Siamese, _rows, L(3) + L(4)),
    # The units before and after a range are one set, also where one of the two is a single unit.
    "range_read": Case(lambda: _Read((1, 3)), _rows, L(2) + L(4)),
    # Unit 0 is read for itself, and so is no longer like those at the end.
    "range_and_unit_read": Case(lambda: _Read((1, 3), (0, 1)), _rows, L(2) + L(3)),
    "first_and_last_read": Case(lambda: _Read((0, 1), (5, 6)), _rows, L(4)),
    "overlapping_ranges_read": Case(lambda: _Read((0, 2), (1, 6)), _rows, L(4)),
    "written_in_place": Case(_InPlace, _rows, L(5) + L(3)),
    "token_mixer": Case(_Mixer, lambda: (torch.zeros(2, 6, 4),), L(5) + L(7) + L(8)),
    "outer_product": Case(_OuterProduct, _rows, L(5) + L(3)),
    "gram": Case(_Gram, _rows, L(5)),
    # True order: 2^3 3!; pairs of a mirror image are not resolved, all is frozen.
    "flip": Case(_Flip, _rows, 3 * L(2) + L(3), complete=False),
}
