"""What a sample model is: how to build it, what to feed it, and its closed form on paper."""

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log
from typing import Any

from torch import nn

__all__ = ["Case", "L"]


def L(n: int) -> float:
    """``log10(n!)``: the order of the symmetric group on ``n`` units."""
    return lgamma(n + 1) / log(10)


@dataclass(frozen=True)
class Case:
    """A small model with the true order of its permutation symmetry group.

    ``log10_order`` is derived by hand in the comment beside the case, never from the extractor.
    ``complete`` is False where the extractor is known to find less; then ``log10_order`` still
    is the truth, and the test asserts that nothing more than it is found.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    log10_order: float
    complete: bool = True
