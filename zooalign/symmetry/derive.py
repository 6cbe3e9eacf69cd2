"""From a solved graph to a permutation spec: where each class stands, and what does not move."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from zooalign.graph.build import Traced
from zooalign.graph.capture import Capture
from zooalign.graph.index_sets import Cause
from zooalign.symmetry.boxes import Box, Digit, Side
from zooalign.symmetry.groups import Block, Frozen, Group, Member, Over
from zooalign.symmetry.solve import Solution, solve
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.unread import fix_unread

__all__ = ["Derived", "derive", "members_of", "parameter_boxes", "place_name"]

_ALONE = Cause("single unit", "the layout", "no other unit stands in its place")


@dataclass(frozen=True)
class Derived:
    """A spec together with what it was read from.

    ``class_of`` gives the number of the class of each group in ``solution.classes``.
    ``other_sizes`` are the same network on inputs of other sizes, where it takes other steps there:
    what is said of values has to hold for these too.
    """

    spec: PermutationSpec
    traced: Traced
    solution: Solution
    class_of: dict[str, int]
    other_sizes: tuple[Capture, ...] = ()


_Digits = list[tuple[int, Digit]]  # each with the number of its axis


@dataclass(frozen=True)
class _Run:
    """Units ``first`` to ``first + count`` at ``offset + stride * i`` of flattened axes."""

    first: int
    count: int
    offset: int
    stride: int


def derive(traced: Traced, architecture: str = "", solution: Solution | None = None) -> Derived:
    """Solve the index sets of a traced graph and write down the permutation spec.

    ``solution`` is that of :func:`~zooalign.symmetry.solve.solve` where it is known already.
    """
    solution = solve(traced.sets) if solution is None else solution
    if fix_unread(traced, solution):
        solution = solve(traced.sets)
    parameters = parameter_boxes(traced, solution)
    members: dict[int, list[Member]] = defaultdict(list)
    for name, boxes in parameters.items():
        if 0 in traced.captured.shapes[name]:
            continue  # an empty tensor has no units
        for number, member in members_of(solution, name, traced.captured.shapes[name], boxes):
            members[number].append(member)
    used = [n for n in range(len(solution.classes)) if n in members]
    names = _names(solution, used, members)
    fixed = {
        names[o]: solution.classes[o].size
        for n in used
        for o in solution.classes[n].over
        if solution.classes[o].fixed
    }
    groups = tuple(
        Group(
            id=names[n],
            size=solution.classes[n].size,
            members=tuple(members[n]),
            over=tuple(names[o] for o in solution.classes[n].over),
            contexts=tuple(solution.classes[o].size for o in solution.classes[n].over),
        )
        for n in used
    )
    spec = PermutationSpec(
        shapes=dict(traced.captured.shapes),
        groups=groups,
        fixed_sets=fixed,
        frozen=tuple(_frozen_axes(traced, solution, parameters)),
        unused=traced.unused,
        unknown_operators=dict(traced.unknown_operators),
        tied=dict(traced.captured.tied),
        buffers=tuple(n for n in traced.captured.shapes if n not in traced.captured.trainable),
        architecture=architecture,
    )
    return Derived(spec, traced, solution, {names[n]: n for n in used})


def parameter_boxes(traced: Traced, solution: Solution) -> dict[str, list[Box]]:
    """Boxes of every tensor of the state dict by each of its names, in state-dict order."""
    by_axes = {id(axes): number for number, axes in enumerate(traced.sets.tensors)}
    by_number: dict[int, list[Box]] = defaultdict(list)
    for box in solution.boxes:
        by_number[box.tensor].append(box)
    return {n: by_number[by_axes[id(tensor.axes)]] for n, tensor in traced.stored.items()}


def _names(
    solution: Solution, used: Sequence[int], members: dict[int, list[Member]]
) -> dict[int, str]:
    """A group is named after its first place: ``parameter:axis``, with a count."""
    names: dict[int, str] = {}
    taken: dict[str, int] = defaultdict(int)
    fixed = 0
    for number in used:
        base = place_name(members[number])
        taken[base] += 1
        names[number] = base if taken[base] == 1 else f"{base}#{taken[base]}"
        for outer in solution.classes[number].over:
            if solution.classes[outer].fixed and outer not in names:
                fixed += 1  # counted apart: class numbers depend on the batch size
                names[outer] = f"fixed#{fixed}"
    return names


def place_name(members: Sequence[Member]) -> str:
    """The place that names a group: the first axis of a weight is that of the units it computes."""
    first = min(members, key=lambda m: (m.axis != 0, not m.parameter.endswith("weight")))
    return f"{first.parameter}:{first.axis}"


def members_of(
    solution: Solution, name: str, shape: Sequence[int], boxes: Sequence[Box]
) -> Iterator[tuple[int, Member]]:
    """(class number, member) for all classes in one tensor, given its boxes."""
    occurrences: dict[tuple[int, int, int], list[tuple[Box, _Digits]]] = defaultdict(list)
    for box in boxes:
        for number, axis, copy, digits in _occurrences(solution, box):
            occurrences[(number, axis, copy)].append((box, digits))
    for (number, axis, _), places in occurrences.items():
        cls = solution.classes[number]
        axes = {axis}
        for box, digits in places:
            axes |= {a for a, _ in digits}
            for outer in cls.over:
                axes |= {a for a, _ in _digits_of(solution, box, outer, digits)}
        axes |= _partly(shape, places, axes)
        ordered = tuple(sorted(axes))
        blocks: dict[Block, None] = {}
        for box, digits in places:
            for block in _blocks(solution, shape, box, digits, cls.over, ordered):
                blocks[block] = None
        in_order = tuple(sorted(blocks, key=lambda block: (block.offset, block.first)))
        yield number, Member(name, axis, ordered, in_order)


def _occurrences(solution: Solution, box: Box) -> Iterator[tuple[int, int, int, _Digits]]:
    """(class, axis, copy, digits) of each occurrence of a class that can move in a box."""
    seen: dict[tuple[int, int], int] = defaultdict(int)
    joint: dict[int, _Digits] = defaultdict(list)
    for axis, side in enumerate(box.sides):
        for digit in side.digits:
            number = solution.parts[digit.atom].cls
            cls = solution.classes[number]
            if cls.fixed:
                continue
            if len(cls.alternatives[0]) > 1:
                joint[number].append((axis, digit))
                continue
            copy = seen[(number, axis)]
            seen[(number, axis)] += 1
            yield number, axis, copy, [(axis, digit)]
    for number, digits in joint.items():
        width = len(solution.classes[number].alternatives[0])
        for copy in range(len(digits) // width):
            part = digits[copy * width : (copy + 1) * width]
            yield number, part[-1][0], copy, part


def _digits_of(solution: Solution, box: Box, number: int, units: _Digits) -> _Digits:
    """The digits of an outer class that belong to units: those of one entry, or the only ones."""
    everywhere = [
        (axis, digit)
        for axis, side in enumerate(box.sides)
        for digit in side.digits
        if solution.parts[digit.atom].cls == number
    ]
    near, unit = units[-1]
    beside = [(n, digit) for n, digit in everywhere if (n, digit.entry) == (near, unit.entry)]
    width = len(solution.classes[number].alternatives[0])
    return beside if len(beside) == width else everywhere[:width]


def _partly(shape: Sequence[int], places: Sequence[tuple[Box, object]], axes: set[int]) -> set[int]:
    """Further axes along which only a part of the positions belongs to the class."""
    covered = sum(
        prod(side.size for n, side in enumerate(box.sides) if n not in axes) for box, _ in places
    )
    distinct = {
        tuple((box.sides[a].offset, box.sides[a].digits) for a in sorted(axes)) for box, _ in places
    }
    whole = prod(n for a, n in enumerate(shape) if a not in axes)
    if covered == whole * len(distinct):
        return set()
    return {
        n
        for box, _ in places
        for n, side in enumerate(box.sides)
        if n not in axes and side.size != shape[n]
    }


def _blocks(
    solution: Solution,
    shape: Sequence[int],
    box: Box,
    digits: _Digits,
    over: Sequence[int],
    axes: tuple[int, ...],
) -> Iterator[Block]:
    flat = {a: prod(shape[b] for b in axes if b > a) for a in axes}
    offset = sum(box.sides[a].offset * flat[a] for a in axes)
    outer = [_digits_of(solution, box, number, digits) for number in over]
    taken = {(a, d) for place in (digits, *outer) for a, d in place}
    repeat = tuple(
        (d.size, d.stride * flat[a])
        for a in axes
        for d in box.sides[a].digits
        if (a, d) not in taken
    )
    runs = [_runs(solution, place, flat) for place in (digits, *outer)]
    for units, *contexts in product(*runs):
        yield Block(
            first=units.first,
            count=units.count,
            offset=offset + units.offset + sum(c.offset for c in contexts),
            stride=units.stride,
            over=tuple(Over(c.stride, c.first, c.count) for c in contexts),
            repeat=repeat,
        )


def _runs(solution: Solution, digits: _Digits, flat: dict[int, int]) -> list[_Run]:
    """The units of a class in a box as runs of one stride."""
    parts = [(solution.parts[d.atom], d.size, d.stride * flat[a]) for a, d in digits]
    parts.sort(key=lambda p: p[0].stride)
    part, count, stride = parts[0]
    run = _Run(part.first, count, 0, stride)
    runs = [run]
    for part, size, stride in parts[1:]:
        if len(runs) == 1 and stride == runs[0].stride * runs[0].count:
            runs = [_Run(runs[0].first, runs[0].count * size, 0, runs[0].stride)]
        else:
            runs = [
                _Run(r.first + i * part.stride, r.count, r.offset + i * stride, r.stride)
                for i in range(size)
                for r in runs
            ]
    return runs


def _frozen_axes(
    traced: Traced, solution: Solution, parameters: Mapping[str, Sequence[Box]]
) -> Iterator[Frozen]:
    """Every axis of more than one position, or part of one, that is fixed."""
    for name, boxes in parameters.items():
        for axis, size in enumerate(traced.captured.shapes[name]):
            if size > 1:
                yield from _frozen_parts(traced, solution, name, axis, size, boxes)


def _frozen_parts(
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
