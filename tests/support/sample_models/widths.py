"""Small networks whose widths are arguments, for tests of unequal widths and partial merging."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention", "Mixed", "convolutions", "mlp", "normed"]


def mlp(
    first: int = 8, second: int = 6, activation: Callable[[], nn.Module] = nn.GELU
) -> nn.Module:
    """Two hidden layers, the first with BatchNorm."""
    return nn.Sequential(
        nn.Linear(5, first),
        nn.BatchNorm1d(first),
        activation(),
        nn.Linear(first, second),
        activation(),
        nn.Linear(second, 3),
    )


def convolutions(first: int = 4, second: int = 6) -> nn.Module:
    """A depthwise convolution, and channels flattened with their positions."""
    return nn.Sequential(
        nn.Conv2d(3, first, 3, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, first, 3, groups=first),
        nn.Hardswish(),
        nn.ConvTranspose2d(first, second, 2),
        nn.PReLU(second),
        nn.Flatten(),
        nn.Linear(second * 9, 4),
    )


def normed(
    first: int = 8, second: int = 6, norm: Callable[[int], nn.Module] = nn.LayerNorm
) -> nn.Module:
    """A norm over the first layer's units."""
    return nn.Sequential(
        nn.Linear(5, first), norm(first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
        nn.Linear(second, 3),
    )  # fmt: skip


class Mixed(nn.Module):
    """A residual stream with a gated inner layer of a fused weight, and a raw weight in einsum."""

    def __init__(self, stream: int = 6, inner: int = 5) -> None:
        super().__init__()
        self.embed = nn.Linear(4, stream)
        self.fused, self.down = nn.Linear(stream, 2 * inner), nn.Linear(inner, stream)
        self.raw = nn.Parameter(torch.randn(stream, inner))
        self.out = nn.Parameter(torch.randn(inner, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        gate, value = self.fused(x).chunk(2, -1)
        x = x + self.down(F.silu(gate) * value)
        return torch.einsum("bd,de->be", x, self.raw).tanh() @ self.out


class Attention(nn.Module):
    """Residual attention with groups of query heads on shared keys and values, without norms."""

    def __init__(self, stream: int = 6, kv: int = 2, queries: int = 2, dims: int = 3) -> None:
        super().__init__()
        self.kv, self.queries, self.dims = kv, queries, dims
        self.embed = nn.Linear(5, stream)
        self.q = nn.Linear(stream, kv * queries * dims)
        self.k, self.v = nn.Linear(stream, kv * dims), nn.Linear(stream, kv * dims)
        self.o, self.head = nn.Linear(kv * queries * dims, stream), nn.Linear(stream, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.kv * self.queries, self.dims).transpose(1, 2)
        k, v = (f(x).view(b, t, self.kv, self.dims).transpose(1, 2) for f in (self.k, self.v))
        made = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.head(x + self.o(made.transpose(1, 2).reshape(b, t, -1)))
