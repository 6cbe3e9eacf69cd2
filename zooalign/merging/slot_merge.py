"""The weights of several models merged, each unit going to a slot alone or with others.

With P the matrix that makes the value of a slot from the units in it (their weighted mean) and U
the one that gives every unit back its slot's value, a merged weight is P_out W U_in over the
models' weights side by side (the merge and unmerge matrices of ZipIt, Stoica et al. 2305.03053).
Where every slot holds one unit of each model it is the weighted average; where none is shared it is
the models side by side, their outputs averaged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.dtypes import rounded
from zooalign.matching.axis_maps import AxisMap, axis_maps, first_slots, spread
from zooalign.matching.producers_consumers import CONSUMES, PRODUCES, Roles
from zooalign.matching.unit_views import tensor_views
from zooalign.merging.interpolate import check_names
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["GroupSlots", "conflicts", "factors_of", "merge_into_slots", "slot_count"]

# Per group an int64 array for each model: the slot of every unit (all contexts, row-major), -1
# for a dead unit. Units of groups that are not named share a slot with those of the same number.
GroupSlots = Mapping[str, Sequence[np.ndarray]]


def conflicts(spec: PermutationSpec, roles: Roles) -> dict[str, str]:
    """Groups whose units cannot get slots, with the reason."""
    reasons: dict[str, str] = {}
    outer = {o for group in spec.groups for o in group.over}
    for group in spec.groups:
        if group.over or group.id in outer:
            reasons[group.id] = "its units are nested (heads, or the dims of heads)"
    for (name, group_id, _), role in roles.items():
        if {PRODUCES, CONSUMES} <= role:
            reasons.setdefault(
                group_id, f"'{name}' makes its units and reads them too (a tied or shared tensor)"
            )
    produced = Counter(
        (name, group) for (name, group, _), role in roles.items() if CONSUMES not in role
    )
    for (name, group_id), axes in produced.items():
        if axes > 1:
            reasons.setdefault(group_id, f"'{name}' makes its units along several axes")
    return reasons


def merge_into_slots(
    spec: PermutationSpec,
    widened: PermutationSpec,
    states: Sequence[Mapping[str, Tensor]],
    slots: GroupSlots,
    roles: Roles,
    weights: Sequence[float],
) -> dict[str, Tensor]:
    """The merged state dict, of the shapes of ``widened``, which has a unit for every slot.

    ``weights`` are positive and sum to one. Tensors are new, in the first state's dtypes, computed
    in float64 and rounded once. Integer tensors are the first state's.
    """
    for index, state in enumerate(states[1:], start=1):
        check_names(states[0], state, index)
    places, widened_places = tensor_views(spec), tensor_views(widened)
    same = first_slots(spec, widened)
    slots_of = [
        same | {g: by_model[m] for g, by_model in slots.items()} for m in range(len(states))
    ]
    factors = [factors_of(slots, m, weights) for m in range(len(states))]
    result: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if name not in spec.shapes or tuple(first.shape) != spec.shapes[name]:
            raise MergeError(
                f"'{name}' of shape {tuple(first.shape)} is not of the spec's architecture "
                f"({spec.shapes.get(name, 'no such tensor')})"
            )
        moved = [p.group for p in places[name] if p.group in slots]
        if not first.is_floating_point():
            if moved:
                raise MergeError(f"'{name}' is {first.dtype} and holds units of '{moved[0]}'")
            result[name] = first.clone()
            continue
        total: Tensor | None = None
        for m, state in enumerate(states):
            if name not in state:
                raise MergeError(f"model {m} lacks '{name}'")
            shapes = first.shape, widened.shapes[name]
            maps = axis_maps(places[name], widened_places[name], *shapes, slots_of[m], name)
            by_axes = _by_axes(name, maps, roles, factors[m], weights[m])
            tensor = state[name].detach().to(device=first.device, dtype=torch.float64)
            term = spread(tensor if by_axes else tensor * weights[m], maps, by_axes)
            total = term if total is None else total.add_(term)
        assert total is not None
        result[name] = rounded(name, total, first.dtype)
    return result


def slot_count(by_model: Sequence[np.ndarray]) -> int:
    """How many slots a group has."""
    return max(int(where.max(initial=-1)) for where in by_model) + 1


def factors_of(slots: GroupSlots, model: int, weights: Sequence[float]) -> dict[str, np.ndarray]:
    """Per group what each unit of one model counts in its slot."""
    factors = {}
    for group, by_model in slots.items():
        total = np.zeros(slot_count(by_model))
        for where, weight in zip(by_model, weights, strict=True):
            np.add.at(total, where[where >= 0], weight)
        where = by_model[model]
        factors[group] = np.where(
            where < 0, 0.0, weights[model] / np.where(total > 0, total, 1)[where]
        )
    return factors


def _by_axes(
    name: str,
    maps: Sequence[AxisMap],
    roles: Roles,
    factors: Mapping[str, np.ndarray],
    weight: float,
) -> dict[tuple[int, ...], np.ndarray]:
    """What each position counts along the axes where the tensor makes units that have slots."""
    by_axes: dict[tuple[int, ...], np.ndarray] = {}
    for axis_map in maps:
        for at in axis_map.occupancies:
            group = at.place.group
            if group in factors and CONSUMES not in roles[(name, group, at.place.axes)]:
                factor = by_axes.get(axis_map.axes, np.full(axis_map.index.size, weight))
                by_axes[axis_map.axes] = np.where(at.narrow < 0, factor, factors[group][at.narrow])
    if len(by_axes) > 1:
        raise MergeError(f"'{name}' makes units along several axes: {sorted(by_axes)}")
    return by_axes
