"""Tensors as boxes: sums are cut, so that every box is a plain product of index sets.

A tensor whose axis is a sum (a concatenation, a fused projection) is several boxes side by side.
Inside a box every axis is an offset and row-major digits, each digit one index set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from zooalign.graph.index_sets import Axis, IndexSets

__all__ = ["Box", "Depends", "Digit", "Side", "boxes", "depended_on", "uncut"]

Depends = Mapping[int, frozenset[int]]


@dataclass(frozen=True)
class Digit:
    """One index set in an axis: position = offset + stride * index + other digits.

    A single position is a digit if it may be one unit of a set whose others stand elsewhere.
    ``of`` are the sums it was cut from or restricted by: it cannot have an order for each of their
    pieces. Another occurrence of such a sum beside it has another value. ``entry`` is the number of
    the entry of its axis that it is a factor of.
    """

    atom: int
    size: int
    stride: int
    of: frozenset[int] = field(default=frozenset(), compare=False)
    entry: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Side:
    """One axis of a box: where it starts, its digits (outer first) and the sums it was cut from.

    ``chosen`` holds (sum, piece) for every sum on the way to this box, and ``chosen_in`` the
    entries of the axis that those sums were in.
    """

    offset: int
    digits: tuple[Digit, ...]
    chosen: tuple[tuple[int, int], ...]
    chosen_in: tuple[int, ...] = field(default=(), compare=False)

    @property
    def size(self) -> int:
        """Number of positions."""
        return prod(d.size for d in self.digits)

    def count(self, sets: IndexSets, atom: int, entry: int | None = None) -> int:
        """How often an index set occurs: as a digit, inside one, or as a sum that was cut.

        With ``entry``, in that entry of the axis alone.
        """
        digits = (d.atom for d in self.digits if entry in (None, d.entry))
        cut = zip(self.chosen, self.chosen_in, strict=True)
        return sets.count(digits, atom) + sum(
            x == atom for (x, _), number in cut if entry in (None, number)
        )


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


def uncut(sets: IndexSets, tensor: int, axes: Sequence[Axis]) -> Box:
    """A whole tensor as one box, whose digits may be sums."""
    return Box(tensor, tuple(Side(0, _entries(sets, axis), ()) for axis in axes))


def depended_on(sets: IndexSets, depends: Depends) -> frozenset[int]:
    """All sets that the order of some free set may depend on."""
    free = (on for atom, on in depends.items() if not sets.fixed(atom) and sets.sizes[atom] > 1)
    return frozenset[int]().union(*free)


def boxes(
    sets: IndexSets, whole: Box, depends: Depends, matters: frozenset[int]
) -> Iterator[tuple[Box, bool]]:
    """Cut a box along its sums, one by one, until none is left that matters.

    A fixed sum on which no order depends (``matters`` are those on which one does) says the same
    cut or whole: products of positions would be thousands of boxes. Sums are cut in the order of
    their numbers, which is the same in all tensors: what a set is called in a part does not depend
    on the layout.

    Yields
    ------
    Every box on the way, and whether it is a final one.
    """
    stack = [whole]
    while stack:
        box = stack.pop()
        sums = [
            (digit.atom, n, place)
            for n, side in enumerate(box.sides)
            for place, digit in enumerate(side.digits)
            if sets.is_sum(digit.atom) and (digit.atom in matters or not sets.fixed(digit.atom))
        ]
        yield box, not sums
        if sums:
            _, n, place = min(sums)
            stack.extend(_cut(sets, box, n, place, depends)[::-1])


def may_restrict(sets: IndexSets, atom: int, on: int, depends: Depends) -> bool:
    """Whether a set is a different one in each piece of the sum ``on``.

    Of two sums that depend on each other only the one cut later depends on the other.
    """
    if sets.sizes[atom] == 1 or sets.fixed(atom):
        return False
    if atom == on or on not in depends.get(atom, ()):
        return False
    return not (sets.is_sum(atom) and atom < on)


def _cut(sets: IndexSets, box: Box, number: int, place: int, depends: Depends) -> list[Box]:
    on = box.sides[number].digits[place].atom
    entry = box.sides[number].digits[place].entry
    once = sum(side.count(sets, on) for side in box.sides) == 1
    beside = box.sides[number].count(sets, on, entry) == 1
    # Digits that have an order of their own in each piece, by side; most sides have none.
    ordered = [
        {
            at
            for at, digit in enumerate(side.digits)
            if (once or (beside and (n, digit.entry) == (number, entry)))
            and may_restrict(sets, digit.atom, on, depends)
        }
        for n, side in enumerate(box.sides)
    ]
    parts, start = [], 0
    for piece in sets.pieces(on):
        stop = start + sets.sizes[piece]
        sides = list(box.sides)
        for n, side in enumerate(box.sides):
            if not ordered[n] and n != number:
                continue
            digits: list[Digit] = []
            for at, digit in enumerate(side.digits):
                if (n, at) == (number, place):
                    within = replace(digit, of=digit.of | {on})
                    if sets.left_over(piece):
                        digits.append(replace(within, atom=sets.find(piece), size=1))
                    digits.extend(_digits(sets, piece, within))
                elif at in ordered[n]:
                    part = sets.find(sets.restricted(digit.atom, on, start, stop))
                    of = digit.of if part == digit.atom else digit.of | {on}
                    digits.extend(_digits(sets, part, replace(digit, of=of)))
                else:
                    digits.append(digit)
            sides[n] = replace(side, digits=tuple(digits))
        cut = box.sides[number]
        offset = cut.offset + start * cut.digits[place].stride
        chosen = (*cut.chosen, (on, piece))
        chosen_in = (*cut.chosen_in, entry)
        sides[number] = replace(sides[number], offset=offset, chosen=chosen, chosen_in=chosen_in)
        parts.append(Box(box.tensor, tuple(sides)))
        start = stop
    return parts


def _entries(sets: IndexSets, axis: Axis) -> tuple[Digit, ...]:
    """The digits of an axis, entry by entry."""
    digits: tuple[Digit, ...] = ()
    stride = 1
    for number in reversed(range(len(axis))):
        whole = Digit(axis[number], sets.sizes[axis[number]], stride, entry=number)
        digits = (*_digits(sets, axis[number], whole), *digits)
        stride *= whole.size
    return digits


def _digits(sets: IndexSets, atom: int, whole: Digit) -> tuple[Digit, ...]:
    """The digits of an index set that stands where ``whole`` stood."""
    inner_first: list[Digit] = []
    stride = whole.stride
    for factor in reversed(sets.digits((atom,))):
        size = sets.sizes[factor]
        inner_first.append(Digit(factor, size, stride, whole.of, whole.entry))
        stride *= size
    return tuple(reversed(inner_first))
