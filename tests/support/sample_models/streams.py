"""Residual streams, for tests of matching and of corrections."""

import torch
from torch import Tensor, nn

__all__ = ["AttentionAndMLP", "NormedResidual", "PreActivation", "ResidualBlocks"]


class ResidualBlocks(nn.Module):
    """Two residual blocks on one stream: the example on which one start often fails."""

    def __init__(self, width: int = 6, hidden: int = 10) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.up = nn.ModuleList(nn.Linear(width, hidden) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(hidden, width) for _ in range(2))
        self.last = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for up, down in zip(self.up, self.down, strict=True):
            h = h + down(torch.relu(up(h)))
        return self.last(h)


class NormedResidual(nn.Module):
    """A residual stream with the three-axis inputs of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 10)
        self.outside = nn.Linear(10, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.outside(self.inside(x).tanh())))


class AttentionAndMLP(nn.Module):
    """Attention and an MLP on a stream: groups nested in groups, and one on two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Linear(8, 8, bias=False)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).unsqueeze(1)
        h = h + self.attention(h, h, h, need_weights=False)[0]
        h = h + self.mix(h)
        h = h + self.down(torch.relu(self.up(h)))
        return self.last(h.squeeze(1))


class PreActivation(nn.Module):
    """Normalisation, activation, convolution, added to the stream: no norm right behind a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 1, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])
        self.layers = nn.ModuleList([nn.Conv2d(6, 6, 3, 1, 1, bias=n > 0) for n in range(2)])
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(torch.relu(norm(x)))
        return self.head(x.mean((2, 3)))
