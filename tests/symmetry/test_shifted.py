"""Units laid against other units of their own layer: shifted, reversed, repeated, or none at all.

However many there are, it takes little time and no deep recursion.
"""

import sys
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sample_models.generators import WRONG, worst_generator
from torch import Tensor, nn

from zooalign.symmetry import extract_spec

MANY = 1200
SECONDS = 60


class Layer(nn.Module):
    """A hidden layer whose units something is done to before they are read."""

    def __init__(self, units: int, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(units, 5))
        self.head = nn.Parameter(torch.randn(2, units))
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.change(F.linear(x, self.weight)).tanh(), self.head)


def _sizes(module: nn.Module) -> list[int]:
    """Sizes of the groups, which are checked unit by unit."""
    inputs = (torch.zeros(3, 5),)
    spec = extract_spec(module, inputs)
    assert not spec.unknown_operators
    assert worst_generator(module, spec, inputs, most=12)[0] < WRONG
    return sorted(group.size for group in spec.groups)


SHIFTED = {
    "by one": (lambda h: h + h.roll(1, 1), []),
    "by a third": (lambda h: h + h.roll(MANY // 3, 1), [MANY // 3]),
    "reversed": (lambda h: h + h.flip(1), []),
    "reversed and shifted": (lambda h: h + h.roll(1, 1).flip(1), []),
    "repeated in turn": (lambda h: h + h[:, :3].repeat(1, MANY // 3), [3, MANY // 3 - 1]),
    "repeated in blocks": (lambda h: h + h[:, : MANY // 3].repeat(1, 3), [2, MANY // 3]),
    "each and the next": (lambda h: F.pad(h[:, 1:] - h[:, :-1], (1, 0)), []),
}


@pytest.mark.parametrize("how", SHIFTED)
def test_a_thousand_units_and_their_copies(how: str) -> None:
    change, sizes = SHIFTED[how]
    start, limit = time.process_time(), sys.getrecursionlimit()
    assert _sizes(Layer(MANY, change)) == sizes
    assert time.process_time() - start < SECONDS
    assert sys.getrecursionlimit() == limit


EMPTY = {
    "shifted": lambda h: h[:, :0].roll(1, 1).sum(),
    "repeated": lambda h: h[:, :0].repeat(1, 2).sum(),
    "reversed": lambda h: h[:, :0].flip(1).sum(),
    "reshaped": lambda h: h[:0].reshape(0, 2, 3).sum(),
    "joined": lambda h: torch.cat([h[:, :0], h], 1).tanh(),
    "pooled": lambda h: F.avg_pool1d(h[:0, None], 2).sum(),
}


@pytest.mark.parametrize("how", EMPTY)
def test_parts_without_a_position_hold_nothing(how: str) -> None:
    assert _sizes(Layer(6, lambda h: h + EMPTY[how](h))) == [6]


class Joined(nn.Module):
    """Matrices put beside each other in two ways, which are stated to be one."""

    def __init__(self, rows: int, columns: int, more: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(rows, columns))
        self.right = nn.Parameter(torch.randn(rows, more))
        self.below = nn.Parameter(torch.randn(columns, columns + more))

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.left, self.right], 1)
        whole = torch.cat([self.below, both], 0)
        turned = torch.cat([self.below.mT, whole], 1).tanh().sum()
        pairs = torch.stack([whole, whole.mT]).flatten().unflatten(0, (-1, 2)).tanh().sum()
        columns = self.below.shape[0]
        return x.sum() + turned + pairs + whole[:, columns - 1 : columns + 1].tanh().sum()


@pytest.mark.parametrize("sizes", [(2, 6, 2), (2, 8, 2), (3, 9, 3)])
def test_a_part_of_a_sum_that_became_a_product_is_cut_again(sizes: tuple[int, int, int]) -> None:
    module = Joined(*sizes)
    inputs = (torch.zeros(3, 5),)
    spec = extract_spec(module, inputs)
    assert worst_generator(module, spec, inputs)[0] < WRONG
