"""Tensors of one width put into those of another: every unit of a group goes to a slot.

Two specs of one graph, whose groups differ in size, say where the units of a group stand in either.
Positions that belong to no group keep their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.unit_views import UnitView, from_front, to_front
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "AxisMap",
    "UnitMap",
    "axis_maps",
    "first_slots",
    "gather",
    "same_groups",
    "spread",
]

# Per group and unit (all contexts, row-major) the slot it goes to, or -1 where it goes nowhere.
UnitMap = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Which unit stands at each position of an axis (or several), -1 where none does.

    ``place`` is where the group stands in the narrow tensor, ``narrow`` and ``wide`` the units'
    numbers (all contexts, row-major) in either tensor.
    """

    place: UnitView
    narrow: np.ndarray
    wide: np.ndarray


@dataclass(frozen=True, eq=False)
class AxisMap:
    """Where the positions along one axis (or several, flattened) of a tensor go.

    ``index`` has for each position of the narrow tensor its position in the wide one, -1 for none;
    ``extent`` the sizes of the wide tensor's axes.
    """

    axes: tuple[int, ...]
    index: np.ndarray
    extent: tuple[int, ...]
    occupancies: tuple[Occupancy, ...]


def same_groups(narrow: PermutationSpec, wide: PermutationSpec) -> None:
    """Raise MergeError unless the specs differ in nothing but the sizes of groups."""
    if list(narrow.shapes) != list(wide.shapes):
        unshared = sorted(narrow.shapes.keys() ^ wide.shapes.keys())
        raise MergeError(
            f"the architectures differ in more than widths: {unshared[:3] or 'order of tensors'} "
            "is in one of them only"
        )
    if [(g.id, g.over) for g in narrow.groups] != [(g.id, g.over) for g in wide.groups]:
        unshared = sorted(narrow.by_id.keys() ^ wide.by_id.keys())
        raise MergeError(
            f"the architectures have different groups of units: {unshared[:3]} in one of them "
            "only. Their widths may differ, not which units are tied to each other"
        )
    if dict(narrow.fixed_sets) != dict(wide.fixed_sets):
        raise MergeError("the architectures differ in the size of sets that do not move")


def first_slots(narrow: PermutationSpec, wide: PermutationSpec) -> dict[str, np.ndarray]:
    """Each unit in the slot of its own number: the first slots, of the first contexts."""
    slots = {}
    for group in narrow.groups:
        other = wide.by_id[group.id]
        small, large = (*group.contexts, group.size), (*other.contexts, other.size)
        if any(a > b for a, b in zip(small, large, strict=True)):
            raise MergeError(
                f"group '{group.id}' has {small} units (by context) in the narrow model and "
                f"{large} in the wide one: no group may be larger in the narrow model"
            )
        numbers = np.ravel_multi_index(np.indices(small), large)
        slots[group.id] = np.asarray(numbers, dtype=np.int64).reshape(-1)
    return slots


def axis_maps(
    narrow: Sequence[UnitView],
    wide: Sequence[UnitView],
    shape: Sequence[int],
    wide_shape: Sequence[int],
    slots: UnitMap,
    name: str,
) -> tuple[AxisMap, ...]:
    """How a tensor's axes lie in the wide tensor's: one entry for each axis that groups stand on.

    Places that do not correspond, or more positions outside of groups, raise MergeError.
    """
    if [(p.group, p.axes) for p in narrow] != [(p.group, p.axes) for p in wide]:
        raise MergeError(f"the units of '{name}' stand along other axes in the wide model")
    pairs = list(zip(narrow, wide, strict=True))
    maps = []
    for axes in _components(narrow):
        small, large = ([s[a] for a in axes] for s in (shape, wide_shape))
        along = tuple(
            Occupancy(p, _labels(p, axes, small), _labels(q, axes, large))
            for p, q in pairs
            if set(p.axes) <= set(axes)
        )
        maps.append(AxisMap(axes, _index(along, slots, name), tuple(large), along))
    covered = {a for axis_map in maps for a in axis_map.axes}
    if len(shape) != len(wide_shape) or any(
        n != m for a, (n, m) in enumerate(zip(shape, wide_shape, strict=True)) if a not in covered
    ):
        raise MergeError(
            f"'{name}' has shape {tuple(shape)} in one model and {tuple(wide_shape)} in the other, "
            "and differs along an axis that holds no interchangeable units"
        )
    return tuple(maps)


def _components(places: Sequence[UnitView]) -> list[tuple[int, ...]]:
    """Axes that some place ties together, in ascending order."""
    components: list[set[int]] = []
    for place in places:
        joined = set(place.axes).union(*(c for c in components if c & set(place.axes)))
        components = [*(c for c in components if not c & joined), joined]
    return [tuple(sorted(c)) for c in components]


def _labels(place: UnitView, axes: tuple[int, ...], extent: Sequence[int]) -> np.ndarray:
    """For each position of the flattened axes the unit that stands there, -1 for none."""
    sizes = dict(zip(axes, extent, strict=True))
    units = np.full(int(np.prod([sizes[a] for a in place.axes])), -1, dtype=np.int64)
    units[place.positions] = np.arange(len(place.positions))[:, None]
    shape = [sizes[a] if a in place.axes else 1 for a in axes]
    return np.broadcast_to(units.reshape(shape), extent).reshape(-1)


def _index(occupancies: Sequence[Occupancy], slots: UnitMap, name: str) -> np.ndarray:
    """The wide position of each narrow one: that of the same units, and among these in order."""
    count = len(occupancies[0].narrow)
    goes = [_mapped(s, slots[s.place.group]) for s in occupancies]
    both = _joint([np.concatenate([g, s.wide]) for g, s in zip(goes, occupancies, strict=True)])
    to, at = both[:count], both[count:]
    live = np.all([g >= -1 for g in goes], axis=0)
    units = _joint([s.narrow for s in occupancies])
    depth = 1 + max(count, len(at))
    have = at * depth + _rank(at)
    want = to * depth + _rank(units)
    order = np.argsort(have)
    matched = order[np.searchsorted(have[order], want).clip(max=len(have) - 1)]
    sizes = np.bincount(at, minlength=int(both.max()) + 1)
    fits = (have[matched] == want) & (np.bincount(units)[units] == sizes[to])
    if not fits[live].all():
        raise MergeError(f"the units of '{name}' lie otherwise in the wide model")
    return np.where(live, matched, -1)


def _mapped(occupancy: Occupancy, slots: np.ndarray) -> np.ndarray:
    """Slots in place of units; -1 where no unit stands, -2 where one has no slot."""
    slot = slots[occupancy.narrow]
    return np.where(occupancy.narrow < 0, -1, np.where(slot < 0, -2, slot))


def _joint(labels: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each combination of labels, from 0."""
    code = np.zeros(len(labels[0]), dtype=np.int64)
    for label in labels:
        code = np.unique(code * (int(label.max()) + 3) + label + 2, return_inverse=True)[1]
    return code


def _rank(code: np.ndarray) -> np.ndarray:
    """How many equal entries stand before each."""
    order = np.argsort(code, kind="stable")
    sorted_code = code[order]
    first = np.searchsorted(sorted_code, sorted_code)
    rank = np.empty_like(code)
    rank[order] = np.arange(len(code)) - first
    return rank


def spread(
    tensor: Tensor,
    maps: Sequence[AxisMap],
    factors: Mapping[tuple[int, ...], np.ndarray] | None = None,
) -> Tensor:
    """The tensor at its places in a wide one, zero elsewhere; units in one slot are added up.

    ``factors`` multiplies, by axes, each position before it is added.
    """
    for axis_map in maps:
        axes = axis_map.axes
        rows = to_front(tensor, axes)
        if factors is not None and axes in factors:
            factor = torch.from_numpy(factors[axes]).to(rows)
            rows = rows * factor.reshape(-1, *[1] * (rows.ndim - 1))
        live = np.flatnonzero(axis_map.index >= 0)
        if len(live) < len(axis_map.index):
            rows = rows.index_select(0, torch.from_numpy(live).to(rows.device))
        to = torch.from_numpy(axis_map.index[live]).to(rows.device)
        size = int(np.prod(axis_map.extent))
        wide = rows.new_zeros((size, *rows.shape[1:])).index_add_(0, to, rows)
        tensor = from_front(wide, axes, axis_map.extent).contiguous()
    return tensor


def gather(tensor: Tensor, maps: Sequence[AxisMap], shape: Sequence[int]) -> Tensor:
    """The narrow tensor's positions read from a wide one. Units must all have slots."""
    for axis_map in maps:
        rows = to_front(tensor, axis_map.axes)
        taken = rows.index_select(0, torch.from_numpy(axis_map.index).to(rows.device))
        tensor = from_front(taken, axis_map.axes, [shape[a] for a in axis_map.axes])
    return tensor
