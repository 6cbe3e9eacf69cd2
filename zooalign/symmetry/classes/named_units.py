"""Units of groups on the names of a statement: which stand along the same names, in which operands.

``"*b i, o i, ?o -> *b o"`` of a linear layer: units along ``i`` in the input and the weight are one
set of :class:`Alike`, those along ``o`` in the weight, the bias and the result another.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from zooalign.graph.statement import Named, Statement
from zooalign.symmetry.classes.places import Occurrence, Places

__all__ = ["RESULT", "Alike", "alike"]

#: The number of the result, where operands are numbers from 0 on.
RESULT = -1


@dataclass(frozen=True)
class _Spread:
    """An occurrence on the space of all names of a statement; its arrays broadcast there."""

    operand: int
    occurrence: Occurrence
    names: frozenset[str]  # along which the unit is another one
    unit: torch.Tensor
    context: torch.Tensor
    place: torch.Tensor

    def same_units(self, other: "_Spread") -> bool:
        """Whether the same unit stands everywhere."""
        pairs = ((self.unit, other.unit), (self.context, other.context))
        return all(torch.equal(*torch.broadcast_tensors(a, b)) for a, b in pairs)


@dataclass(frozen=True)
class Alike:
    """The same units of one group along the same names, in some operands and results.

    ``operands`` are their numbers, :data:`RESULT` for the result, each as often as it has these
    units; ``names`` are those along which the unit is another one.
    """

    group: str
    operands: tuple[int, ...]
    names: frozenset[str]
    _spread: tuple[_Spread, ...]

    def occurrences(self, operand: int) -> list[Occurrence]:
        """Those in one operand."""
        return [s.occurrence for s in self._spread if s.operand == operand]

    def rows(self) -> Iterator[tuple[int, ...]]:
        """The numbers of the places that meet: one row for each combination, in order."""
        if all(len(s.occurrence.places) == 1 for s in self._spread):
            yield tuple(s.occurrence.places[0] for s in self._spread)
            return
        unit, *places = torch.broadcast_tensors(
            self._spread[0].unit, *(s.place for s in self._spread)
        )
        yield from {
            tuple(row) for row in torch.stack(places)[:, unit >= 0].T.unique(dim=0).tolist()
        }


def alike(
    statement: Statement, operands: Sequence[int], places: Places
) -> tuple[list[Alike], list[Occurrence]]:
    """The units that stand along the same names in some operands (and the result).

    Returns
    -------
    Units of all groups of which that is clear, and the occurrences of all other groups.
    """
    order = list(
        dict.fromkeys(
            name
            for named in (*statement.operands, *statement.results)
            for axis in named.axes
            for name, _ in axis
        )
    )
    by_group: dict[str, list[_Spread | None]] = defaultdict(list)
    standing: dict[str, list[Occurrence]] = defaultdict(list)
    for number in operands:
        named = statement.results[0] if number == RESULT else statement.operands[number]
        for occurrence in places.of(named.tensor):
            group = occurrence.group.id
            standing[group].append(occurrence)
            by_group[group].append(_spread(named, number, occurrence, order))
    clear: list[Alike] = []
    unclear: list[Occurrence] = []
    for group, spread in by_group.items():
        sets = _sets(spread, statement.combined)
        if sets is None:
            unclear.extend(standing[group])
            continue
        for same in sets:
            numbers = tuple(s.operand for s in same)
            clear.append(Alike(group, numbers, same[0].names, tuple(same)))
    return clear, unclear


def _sets(spread: Sequence[_Spread | None], combined: frozenset[str]) -> list[list[_Spread]] | None:
    """Occurrences with the same units; None where some share only a part of them."""
    sets: list[list[_Spread]] = []
    for each in spread:
        if each is None or each.names & combined:
            return None
        same = [other for other in sets if other[0].names & each.names]
        if not same:
            sets.append([each])
        elif len(same) > 1 or not same[0][0].same_units(each):
            return None
        else:
            same[0].append(each)
    return sets


def _spread(
    named: Named, number: int, occurrence: Occurrence, order: Sequence[str]
) -> _Spread | None:
    arrays = (occurrence.unit, occurrence.context, occurrence.place)
    unit, context, place = (_on_names(named, array, order) for array in arrays)
    if unit is None or context is None or place is None:
        return None
    varying = frozenset(
        name
        for axis, name in enumerate(order)
        if unit.shape[axis] > 1 and not bool((unit == unit.narrow(axis, 0, 1)).all())
    )
    return _Spread(number, occurrence, varying, unit, context, place)


def _on_names(named: Named, array: torch.Tensor, order: Sequence[str]) -> torch.Tensor | None:
    """An array of a tensor's form with one axis for each name; None where one stands twice."""
    sizes: list[int] = []
    names: list[str] = []
    for size, factors in zip(array.shape, named.axes, strict=True):
        names.extend(name for name, n in factors if n > 1 and size > 1)
        sizes.extend(n for _, n in factors if n > 1 and size > 1)
    if len(set(names)) < len(names):
        return None
    by_name = dict(zip(names, sizes, strict=True))
    present = [names.index(name) for name in order if name in by_name]
    return array.reshape(sizes).permute(present).reshape([by_name.get(name, 1) for name in order])
