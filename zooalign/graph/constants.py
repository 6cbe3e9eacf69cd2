"""The axes of a constant: which of its positions its values tell apart."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import fx

from zooalign.graph.arguments import plain_name
from zooalign.graph.index_sets import Axis, Cause, IndexSets

__all__ = ["constant_axes", "is_reordering"]

# More runs than this are a table or a pattern, whose positions have a meaning.
_MOST_RUNS = 16
_COPIES = frozenset(["to", "_to_copy", "clone", "alias", "lift_fresh", "lift_fresh_copy"])


def constant_axes(
    sets: IndexSets, shape: tuple[int, ...], value: torch.Tensor | None, name: str
) -> list[Axis]:
    """A constant tells apart the positions of the axes along which its values differ.

    Positions side by side with equal values may change places. Where numbers that are no integers
    differ along one axis only, that axis is a sum: a piece for each run of equal values. Integers
    may number positions, so theirs are all told apart.
    """
    detail = "differs from position to position"
    if value is None:
        detail = "its values are not known: the module was built on the meta device"
    cause = Cause("constant", f"the constant '{name}'", detail)
    if value is None or not value.numel():
        return [sets.axis(size, cause) for size in shape]
    bits = _bits(value)
    starts = [_starts(bits, number) for number in range(len(shape))]
    varying = [number for number, first in enumerate(starts) if len(first) > 1]
    axes: list[Axis] = [()] * len(shape)
    for number in varying:
        size, runs = shape[number], len(starts[number])
        counts = [stop - start for start, stop in pairwise([*starts[number], size])]
        integers = not (value.is_floating_point() or value.is_complex())
        if integers or len(varying) > 1 or runs > min(_MOST_RUNS, size - 1):
            axes[number] = sets.axis(size, cause)
        else:
            axes[number] = _side_by_side(sets, counts, cause)
    return axes


def is_reordering(node: fx.Node, constants: Mapping[str, torch.Tensor | None]) -> bool:
    """Whether a tensor is a constant that has each of the numbers 0, 1, ... once."""
    while plain_name(node) in _COPIES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    value = constants.get(node.name)
    if value is None or value.ndim != 1 or value.dtype not in (torch.int64, torch.int32):
        return False
    return bool((value.sort().values == torch.arange(len(value))).all())


def _side_by_side(sets: IndexSets, counts: list[int], cause: Cause) -> Axis:
    """Runs of equal values: one position is told apart from all others, several are a set."""
    pieces = [sets.new(count, cause if count == 1 else None) for count in counts]
    for piece in pieces:
        # The values tell the runs apart: this is a place where each stands alone.
        sets.bound([(piece,)])
    return sets.concatenate([(piece,) for piece in pieces])


def _starts(bits: torch.Tensor, number: int) -> list[int]:
    """Positions of an axis whose slice is not that of the position before."""
    rows = bits.movedim(number, 0).flatten(1) if bits.ndim > 1 else bits[:, None]
    changes = (rows[1:] != rows[:-1]).any(1)
    return [0, *(int(n) + 1 for n in changes.nonzero())]


def _bits(value: torch.Tensor) -> torch.Tensor:
    """Integers that are equal only where values are, to the bit: zeros of both signs differ."""
    if value.is_complex():
        return torch.stack([_bits(value.real), _bits(value.imag)], -1)
    if not value.is_floating_point():
        return value
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return value.view(kinds[value.itemsize])
