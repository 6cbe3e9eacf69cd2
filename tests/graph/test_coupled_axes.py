"""Axes that are one axis are read from the graph."""

import torch
from torch import nn

from zooalign.graph.coupled_axes import axes_like, axes_of_outputs
from zooalign.symmetry import derive_spec


class Classifier(nn.Module):
    """Two heads of five classes, averaged, beside a hidden layer of five units."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 5)
        self.one, self.other = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
        self.register_buffer("offset", torch.zeros(1, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.hidden(x))
        return (self.one(h) + self.other(h)) / 2 + self.offset


def test_the_classes_of_an_output_are_told_from_units_of_the_same_number() -> None:
    traced = derive_spec(Classifier(), (torch.zeros(2, 3),)).traced
    places = {("one.weight", 0), ("one.bias", 0), ("other.weight", 0), ("offset", 1)}
    assert set(axes_of_outputs(traced, 5)) == places
    assert axes_of_outputs(traced, 3) == ()


class Language(nn.Module):
    """Embeddings of seven tokens that are the output's weights too."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.positions = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.embed(x) + self.positions.weight[: x.shape[1]]))


def test_the_rows_of_a_vocabulary_under_every_name() -> None:
    x = torch.zeros(2, 3, dtype=torch.long)
    tied = derive_spec(Language(tied=True), (x,)).traced
    everywhere = {("embed.weight", 0), ("out.weight", 0), ("out.bias", 0)}
    assert set(axes_like(tied, [("embed.weight", 0)])) == everywhere
    apart = derive_spec(Language(tied=False), (x,)).traced
    assert set(axes_like(apart, [("embed.weight", 0)])) == {("embed.weight", 0)}
    assert set(axes_like(apart, [("out.weight", 0)])) == {("out.weight", 0), ("out.bias", 0)}
