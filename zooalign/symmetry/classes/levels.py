"""What linear maps of a group's units an operator allows: levels, from the least to the most."""

from dataclasses import dataclass
from enum import IntEnum

from zooalign.graph.index_sets import Cause

__all__ = ["Level", "Lowered"]


class Level(IntEnum):
    """The linear maps of the units of a group; the meet of two is the smaller one.

    ``MONOMIAL`` are those that work unit by unit; which of them is for the exponents to say.
    """

    MONOMIAL = 0
    FIXING_ONES = 1
    ORTHOGONAL = 2
    INVERTIBLE = 3


@dataclass(frozen=True)
class Lowered:
    """An operator that leaves only maps of a level to a group, and why."""

    level: Level
    cause: Cause
