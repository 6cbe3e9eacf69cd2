"""Tensors as boxes: every sum taken apart, every box a plain product of index sets.

A tensor whose axis is a sum (a concatenation, a fused projection) is several boxes side by side.
Inside a box every axis is an offset and row-major digits, each digit one index set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from zooalign.graph.index_sets import Axis, IndexSets

__all__ = ["Box", "Digit", "Side", "boxes"]


@dataclass(frozen=True)
class Digit:
    """One index set in an axis: position = offset + stride * index + other digits."""

    atom: int
    size: int
    stride: int


@dataclass(frozen=True)
class Side:
    """One axis of a box: where it starts, its digits (outer first), and the sums it was cut from.

    ``chosen`` holds (sum, piece) for every sum on the way to this box.
    """

    offset: int
    digits: tuple[Digit, ...]
    chosen: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Number of positions."""
        return prod(d.size for d in self.digits)


@dataclass(frozen=True)
class Box:
    """A part of a tensor that is a product of index sets."""

    tensor: int
    sides: tuple[Side, ...]

    def atoms(self) -> list[tuple[int, int]]:
        """(axis number, atom) of every digit."""
        return [(n, d.atom) for n, side in enumerate(self.sides) for d in side.digits]

    def chosen(self) -> list[tuple[int, int, int]]:
        """(axis number, sum, piece) of every sum this box was cut from."""
        return [(n, x, z) for n, side in enumerate(self.sides) for x, z in side.chosen]


def boxes(sets: IndexSets, tensor: int, axes: Sequence[Axis]) -> Iterator[Box]:
    """All boxes of a tensor with the given axes."""
    for sides in product(*(_sides(sets, axis) for axis in axes)):
        yield Box(tensor, sides)


def _sides(sets: IndexSets, axis: Axis) -> list[Side]:
    found = [Side(0, (), ())]
    stride = 1
    for atom in reversed(sets.digits(axis)):
        size = sets.sizes[atom]
        if not sets.is_sum(atom):
            digit = Digit(atom, size, stride)
            found = [replace(side, digits=(digit, *side.digits)) for side in found]
        else:
            found = [
                Side(
                    tail.offset + (start + head.offset) * stride,
                    (*(replace(d, stride=d.stride * stride) for d in head.digits), *tail.digits),
                    ((atom, piece), *head.chosen, *tail.chosen),
                )
                for start, piece in _starts(sets, atom)
                for head in _sides(sets, (piece,))
                for tail in found
            ]
        stride *= size
    return found


def _starts(sets: IndexSets, atom: int) -> Iterator[tuple[int, int]]:
    start = 0
    for piece in sets.pieces(atom):
        yield start, piece
        start += sets.sizes[piece]
