"""Operators that only copy positions, run on the numbers of these: where each position comes from.

A view, a slice or a concatenation says nothing by its notation, as it has none. It is run on
tensors that hold, for each element, which unit stands there and at which place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from zooalign.graph.execute import called
from zooalign.graph.tensor import Tensor
from zooalign.symmetry.classes.places import Occurrence, Places, narrowed

__all__ = ["Copied", "copied"]

# Of an element that is zero, and of one that no unit stands at.
_ZERO, _NONE = 0, -1


@dataclass(frozen=True)
class Copied:
    """What became of the units of one group.

    ``pairs`` are (place in an operand, place in a result) of elements that are copied; ``lost`` are
    places in operands and results of which an element has its unit only here or there.
    """

    group: str
    pairs: frozenset[tuple[int, int]]
    lost: frozenset[int]


def copied(
    node: fx.Node,
    operands: Mapping[fx.Node, Tensor],
    results: Sequence[Tensor],
    places: Places,
) -> Iterator[Copied]:
    """Run a node that only copies, for each group that stands in its operands or results.

    Raises
    ------
    RuntimeError
        If the operator does not run on whole numbers.
    """
    tensors = [*operands.values(), *results]
    groups = dict.fromkeys(o.group.id for tensor in tensors for o in places.of(tensor))
    for group in groups:
        sources = {n: _of_group(group, t, places) for n, t in operands.items()}
        targets = [_of_group(group, tensor, places) for tensor in results]
        code = _Code(max(1, *(o.group.size * o.group.copies for o in _all(sources, targets))))
        moved = [
            _run(node, {n: _encoded(code, o, i, operands[n]) for n, o in sources.items()})
            for i in range(max(map(len, sources.values()), default=0))
        ]
        yield _compared(group, code, moved, targets, _all(sources, ()))


@dataclass(frozen=True)
class _Code:
    """A unit in its context and a place as one number."""

    units: int

    def of(self, occurrence: Occurrence) -> torch.Tensor:
        unit = occurrence.context * occurrence.group.size + occurrence.unit
        number = occurrence.place * self.units + unit + 1
        return torch.where(occurrence.unit >= 0, number, _NONE)

    def unit(self, number: torch.Tensor) -> torch.Tensor:
        return torch.where(number > 0, (number - 1) % self.units, -1)

    def place(self, number: torch.Tensor) -> torch.Tensor:
        return torch.where(number > 0, (number - 1).div(self.units, rounding_mode="floor"), -1)


def _of_group(group: str, tensor: Tensor, places: Places) -> list[Occurrence]:
    return [o for o in places.of(tensor) if o.group.id == group]


def _all(
    sources: Mapping[fx.Node, list[Occurrence]], targets: Sequence[list[Occurrence]]
) -> list[Occurrence]:
    return [o for listed in (*sources.values(), *targets) for o in listed]


def _encoded(code: _Code, occurrences: list[Occurrence], number: int, x: Tensor) -> torch.Tensor:
    if number >= len(occurrences):
        return torch.full((), _NONE, dtype=torch.int64).expand(x.shape)
    return code.of(occurrences[number]).expand(x.shape)


def _run(node: fx.Node, values: Mapping[fx.Node, torch.Tensor]) -> list[torch.Tensor]:
    """The results on numbers; an axis along which one does not vary has one position."""

    def given(part: fx.Node) -> Any:
        if part in values:
            return values[part]
        meta = part.meta.get("val")
        if not isinstance(meta, torch.Tensor):
            return meta
        return torch.full((), _NONE, dtype=torch.int64).expand(tuple(map(int, meta.shape)))

    value = called(node, {part: given(part) for part in node.all_input_nodes})
    return [narrowed(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


def _compared(
    group: str,
    code: _Code,
    moved: Sequence[Sequence[torch.Tensor]],
    targets: Sequence[list[Occurrence]],
    sources: Sequence[Occurrence],
) -> Copied:
    pairs: set[tuple[int, int]] = set()
    lost: set[int] = set()
    for number, occurrences in enumerate(targets):
        left = [run[number] for run in moved]
        for occurrence in occurrences:
            match = next((x for x in left if _same_units(code, x, occurrence)), None)
            if match is None:
                lost.update(_present(occurrence.place))
                continue
            left = [x for x in left if x is not match]
            _pair(code, match, occurrence, pairs, lost)
        for x in left:
            lost.update(_present(code.place(x)))
    return Copied(group, frozenset(pairs), frozenset(lost))


def _same_units(code: _Code, x: torch.Tensor, occurrence: Occurrence) -> bool:
    """Whether the units are the same wherever both have one, and somewhere both have."""
    unit = occurrence.context * occurrence.group.size + occurrence.unit
    here, there = torch.broadcast_tensors(code.unit(x), unit)
    both = (here >= 0) & (there >= 0)
    return bool(both.any()) and bool((here[both] == there[both]).all())


def _pair(
    code: _Code,
    x: torch.Tensor,
    occurrence: Occurrence,
    pairs: set[tuple[int, int]],
    lost: set[int],
) -> None:
    x, unit, place = torch.broadcast_tensors(x, occurrence.unit, occurrence.place)
    source, here, there = code.place(x), x > 0, unit >= 0
    largest = int(place.max()) + 1
    both = (source * largest + place)[here & there]
    pairs.update(divmod(number, largest) for number in _distinct(both))
    lost.update(_present(source[here & ~there]))
    # A zero is a zero whatever it is multiplied with.
    lost.update(_present(place[there & (x == _NONE)]))


def _present(numbers: torch.Tensor) -> list[int]:
    return [n for n in _distinct(numbers) if n >= 0]


def _distinct(numbers: torch.Tensor) -> list[int]:
    """Each number once; neighbours are mostly the same, and what is left is sorted."""
    distinct: list[int] = numbers.unique_consecutive().unique().tolist()
    return distinct
