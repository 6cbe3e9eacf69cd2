"""Architectures for ``py:`` references: one parameter under two names, and two outputs."""

from torch import Tensor, nn


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.inner = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(self.second(self.first(x))).relu())
        return out


class TwoOutputs(nn.Module):
    """A layer that two heads read."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)
        self.aux = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x).relu()
        return self.last(h), self.aux(h)
