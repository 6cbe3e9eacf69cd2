"""Constants tell their values apart, and equal values side by side not: they may change places."""

from collections.abc import Callable
from math import inf

import pytest
import torch
from sample_models.generators import WRONG, worst_generator
from sample_models.small import TwoLayers
from torch import Tensor

from zooalign.symmetry import extract_spec

Step = Callable[[Tensor], Tensor]
INPUTS = (torch.zeros(3, 5),)


def _of(*values: float) -> Callable[[Tensor], Tensor]:
    return lambda h: torch.tensor(values, dtype=h.dtype)


TWO_PAIRS = _of(1, 1, 2, 2)

# The step between two layers, and the sizes of the groups.
STEPS: dict[str, tuple[Step, list[int]]] = {
    "a factor": (lambda h: h * TWO_PAIRS(h), [2, 2]),
    "a summand": (lambda h: (h + TWO_PAIRS(h)).tanh(), [2, 2]),
    "three and one": (lambda h: h * _of(0, 0, 0, 1)(h), [3]),
    "minus infinity": (lambda h: (h + _of(0, 0, -inf, -inf)(h)).softmax(-1), [2, 2]),
    "a condition": (lambda h: torch.where(TWO_PAIRS(h) > 1.5, h, h.tanh()), [2, 2]),
    "zeros of both signs": (lambda h: (h * h).copysign(_of(0.0, 0.0, -0.0, -0.0)(h)), [2, 2]),
    "two constants": (lambda h: (h * TWO_PAIRS(h)).tanh() * _of(1, 2, 2, 2)(h), [2]),
    "in turn": (lambda h: h * _of(1, 2, 1, 2)(h), []),
    "a row of a grid": (lambda h: (h.view(-1, 2, 2) * TWO_PAIRS(h).view(2, 2)).flatten(1), [2, 2]),
    "a group of channels": (lambda h: (h.view(-1, 2, 2) * _of(1, 2)(h)).flatten(1), [2]),
    "its own square": (lambda h: h @ (TWO_PAIRS(h)[:, None] - TWO_PAIRS(h)).abs(), [2, 2, 2, 2]),
    "a running sum": (lambda h: h * TWO_PAIRS(h).cumsum(0), []),
    "integers": (lambda h: h * torch.tensor([1, 1, 2, 2]), []),
    "truth values": (lambda h: h.where(torch.tensor([True, True, False, False]), h.tanh()), []),
    "numbers of positions": (lambda h: h[:, torch.tensor([0, 0, 1, 1])], []),
    "numbers from fractions": (lambda h: h[:, _of(0, 0, 1, 1)(h).long()], []),
    "ties": (lambda h: h * torch.eye(4)[(h * _of(0, 0, 1, 1)(h)).argmax(-1)].to(h), []),
    "along two axes": (lambda h: h * _of(1, 1, 2, 2)(h) * _grid(h).sum(0), []),
}


def _grid(h: Tensor) -> Tensor:
    return torch.tensor([[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]], dtype=h.dtype)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_equal_values_side_by_side_may_change_places(name: str) -> None:
    step, sizes = STEPS[name]
    spec = extract_spec(TwoLayers(step, (5, 4, 2)), INPUTS)
    assert sorted(group.size for group in spec.groups) == sizes
    module = TwoLayers(step, (5, 4, 2)).double()
    assert worst_generator(module, spec, INPUTS)[0] < WRONG / 1e3


def test_runs_of_one_value_are_not_one_set() -> None:
    """Two runs of one value with another between them: each keeps its units."""
    values = (7.0, 7.0, 1.0, 7.0, 7.0)
    spec = extract_spec(TwoLayers(lambda h: h * _of(*values)(h), (5, 5, 2)), INPUTS)
    assert [group.size for group in spec.groups] == [2, 2]


def test_not_a_number_is_equal_to_the_bit() -> None:
    bits = torch.tensor([0x7FC00000, 0x7FC00000, 0x7FC00001, 0x7FC00001], dtype=torch.int32)
    module = TwoLayers(torch.copysign, (5, 4, 2), persistent=False, other=bits.view(torch.float32))
    assert [group.size for group in extract_spec(module, INPUTS).groups] == [2, 2]


def test_a_pattern_of_many_runs_is_told_apart() -> None:
    pattern = tuple(float(n // 2) for n in range(40))
    spec = extract_spec(TwoLayers(lambda h: h * _of(*pattern)(h), (5, 40, 2)), INPUTS)
    assert spec.groups == ()
    assert {entry.kind for entry in spec.frozen} >= {"constant"}
