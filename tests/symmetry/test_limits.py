"""Symmetries that exist and are not found: the reason names them as a limit, not as a fact."""

from collections.abc import Callable

import pytest
import torch
from sample_models.generators import WRONG, worst_generator
from sample_models.small import TwoLayers
from torch import Tensor, nn

from zooalign.coverage.reasons import MATHEMATICAL, kind_of
from zooalign.symmetry import PermutationSpec, extract_spec

INPUTS = (torch.zeros(3, 5),)
ORDER = torch.tensor([3, 0, 5, 1, 4, 2])


def _reasons(spec: PermutationSpec, parameter: str, axis: int) -> dict[str, str]:
    entries = [e for e in spec.frozen if (e.parameter, e.axis) == (parameter, axis)]
    return {kind_of(entry): entry.detail for entry in entries}


@pytest.mark.parametrize(
    ("step", "detail"),
    [
        (lambda h: h + h.flip(-1), "might move in pairs"),
        (lambda h: h * h.flip(1).tanh(), "might move in pairs"),
        (lambda h: h + torch.fliplr(h), "might move in pairs"),
        (lambda h: h[:, ORDER], "another order"),
        (lambda h: h.tanh().index_select(1, ORDER), "another order"),
        (lambda h: h + h[:, ORDER], "another order"),
    ],
)
def test_units_that_might_move_together_are_named(
    step: Callable[[Tensor], Tensor], detail: str
) -> None:
    spec = extract_spec(TwoLayers(step, (5, 6, 2)), INPUTS)
    assert spec.groups == ()
    for parameter, axis in (("first.weight", 0), ("first.bias", 0), ("last.weight", 1)):
        (kind,) = reasons = _reasons(spec, parameter, axis)
        assert kind not in MATHEMATICAL and detail in reasons[kind]


@pytest.mark.parametrize("table", [torch.tensor([3, 0, 5, 1, 4, 4]), torch.tensor([1, 0, 2])])
def test_a_table_that_leaves_units_out_is_a_fact(table: Tensor) -> None:
    module = TwoLayers(lambda h: h[:, table], (5, 6, 2), reads=len(table))
    assert set(_reasons(extract_spec(module, INPUTS), "first.weight", 0)) == {"index"}


class Shuffled(nn.Module):
    """Three groups of five channels, shuffled, read by three groups of five others."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 1),
            nn.Conv2d(6, 15, 1, groups=3),
            nn.ChannelShuffle(3),
            nn.Conv2d(15, 6, 1, groups=3),
            nn.Conv2d(6, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_a_shuffle_of_channels_that_does_not_fit_is_a_limit() -> None:
    spec = extract_spec(Shuffled(), (torch.zeros(2, 3, 2, 2),))
    reasons = _reasons(spec, "layers.1.weight", 0)
    assert set(reasons) == {"factors that do not fit"} and not set(reasons) & MATHEMATICAL


class Unpooled(nn.Module):
    """The largest value of each window goes back to where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        largest, places = nn.functional.max_pool2d(self.first(x), 2, return_indices=True)
        return self.last(nn.functional.max_unpool2d(largest.tanh(), places, 2))


def test_channels_of_an_unpooling_move() -> None:
    inputs = (torch.zeros(2, 3, 4, 4),)
    spec = extract_spec(Unpooled(), inputs)
    assert [group.size for group in spec.groups] == [4]
    assert worst_generator(Unpooled().double(), spec, inputs)[0] < WRONG / 1e3
