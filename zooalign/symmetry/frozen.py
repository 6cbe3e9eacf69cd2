"""Which axes of the state dict do not move, and what told their positions apart."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from zooalign.graph.build import Traced
from zooalign.graph.index_sets import Cause
from zooalign.symmetry.boxes import Box, Side
from zooalign.symmetry.groups import Frozen
from zooalign.symmetry.solve import Solution

__all__ = ["frozen_axes"]

_ALONE = Cause("single unit", "the layout", "no other unit stands in its place")


def frozen_axes(
    traced: Traced, solution: Solution, parameters: Mapping[str, Sequence[Box]]
) -> Iterator[Frozen]:
    """Every axis of more than one position, or part of one, that is fixed."""
    for name, boxes in parameters.items():
        for axis, size in enumerate(traced.captured.shapes[name]):
            if size > 1:
                yield from _axis(traced, solution, name, axis, size, boxes)


def _axis(
    traced: Traced,
    solution: Solution,
    name: str,
    axis: int,
    size: int,
    boxes: Sequence[Box],
) -> Iterator[Frozen]:
    masks: dict[tuple[Cause, bool], np.ndarray] = defaultdict(lambda: np.zeros(size, dtype=bool))
    for side in {box.sides[axis] for box in boxes}:
        fixed = [d for d in side.digits if traced.sets.fixed(d.atom)]
        free = any(not solution.classes[solution.parts[d.atom].cls].fixed for d in side.digits)
        if fixed:
            cause = traced.sets.fixed(fixed[0].atom)
            assert cause is not None
            masks[(cause, free)][_positions(side)] = True
        elif not free:
            masks[(_ALONE, False)][_positions(side)] = True
    for (cause, partial), mask in masks.items():
        ranges = None if mask.all() else _ranges(mask)
        yield Frozen(name, axis, cause.kind, cause.operator, cause.detail, ranges, partial)


def _positions(side: Side) -> np.ndarray:
    positions = np.array([side.offset], dtype=np.int64)
    for digit in side.digits:
        positions = (positions[:, None] + digit.stride * np.arange(digit.size)).reshape(-1)
    return positions


def _ranges(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
