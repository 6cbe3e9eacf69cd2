"""Which groups of units may have another number of them, shown on the module itself.

A group may be widened if its units do not act on each other but through the weights that read
them. Two trials on random parameters in float64 show it, both on the widths that are wanted: units
are added that nothing reads, and units are doubled, their readers' weights shared out between the
two. Neither may change what the others do. A norm over units, a softmax, the scale of attention
fail; a size that the forward pass names fails when the wide module is traced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.errors import MergeError, TraceError
from zooalign.matching.axis_maps import axis_maps, first_slots, same_groups, spread
from zooalign.matching.producers_consumers import CONSUMES, Roles, find_roles
from zooalign.matching.unit_views import from_front, tensor_views, to_front
from zooalign.matching.widths import WidthDifference, first_difference, widen_module, widened_shapes
from zooalign.merging.slot_merge import GroupSlots, conflicts, merge_into_slots, slot_count
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.trial import mixes_precisions, outputs, random_inputs, random_state

__all__ = ["Widening", "apart", "widening"]

_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Widening:
    """A module whose groups may be asked for other sizes.

    ``roles`` say which tensors make units and which read them. ``inputs`` and ``state`` are random
    ones of ``seed``, in float64, for trials.
    """

    module: nn.Module
    derived: Derived
    roles: Roles
    inputs: tuple[object, ...]
    state: Mapping[str, Tensor]
    example_inputs: tuple[object, ...]
    seed: int

    @property
    def spec(self) -> PermutationSpec:
        """The module's permutation spec."""
        return self.derived.spec

    def widened(self, slots: GroupSlots) -> Derived:
        """The module with as many units as there are slots, shown to be of the same computation.

        Raises
        ------
        MergeError
            With the operator and layer that forbid it.
        TraceError
            If the module does not run with these widths.
        """
        if all(slot_count(by_model) == self.spec.by_id[g].size for g, by_model in slots.items()):
            return self.derived
        derived, difference = self._trial(slots)
        if difference is not None:
            raise MergeError(_explained(difference, tuple(slots)))
        return derived

    def refused(self, groups: Sequence[str]) -> dict[str, str]:
        """Those of the groups that cannot be widened, with the reason."""
        known = conflicts(self.spec, self.roles)
        reasons = {g: known[g] for g in groups if g in known}
        waiting = [g for g in groups if g not in reasons]
        while waiting:
            reason, culprits = self._why_not(waiting)
            if reason is None:
                break
            culprits = culprits or waiting
            if len(culprits) > 1:  # not known which: each alone
                alone = {g: self._why_not([g])[0] for g in culprits}
                guilty = {g: why for g, why in alone.items() if why is not None}
                culprits = list(guilty) or culprits
                reasons |= guilty
            reasons |= {g: reason for g in culprits if g not in reasons}
            waiting = [g for g in waiting if g not in culprits]
        return reasons

    def _why_not(self, groups: Sequence[str]) -> tuple[str | None, list[str]]:
        slots = {g: apart(self.spec.by_id[g].size) for g in groups}
        try:
            difference = self._trial(slots)[1]
        except (MergeError, TraceError) as error:
            return f"more of its units cannot be had: {error}", []
        if difference is None:
            return None, []
        culprits = [g for g in difference.groups if g in slots]
        return _explained(difference, culprits or groups), culprits

    def _trial(self, slots: GroupSlots) -> tuple[Derived, WidthDifference | None]:
        counts = {g: slot_count(by_model) for g, by_model in slots.items()}
        widths = {g: count for g, count in counts.items() if count != self.spec.by_id[g].size}
        module = widen_module(self.module, widened_shapes(self.spec, widths))
        # Run before it is traced: where that fails, it does so sooner, and without torch's log.
        self._outputs(module, random_state(module, self.seed + 1))
        derived = derive_spec(module, self.example_inputs)
        same_groups(self.spec, derived.spec)
        first = first_slots(self.spec, derived.spec)
        # Dead units share the slot of the first model's unit of their number: nothing is missing.
        double = {g: [np.where(s < 0, slots[g][0], s) for s in slots[g]] for g in widths}
        models = len(next(iter(slots.values()))) if slots else 1
        shares = [2 * (m + 1) / (models * (models + 1)) for m in range(models)]  # all different
        trials = (
            self._added(module, derived.spec, widths),
            merge_into_slots(
                self.spec, derived.spec, [self.state] * models, double, self.roles, shares
            ),
        )
        for state in trials:
            difference = first_difference(
                self.derived, derived, self.state, state, first, self.inputs
            )
            if difference is not None:
                return derived, difference
            left, right = self._outputs(self.module, self.state), self._outputs(module, state)
            if left is None or right is None:
                continue
            error = relative_error(left, right)
            if not error <= _TOLERANCE:
                raise MergeError(
                    f"{type(module).__name__} computes something else than its graph with these "
                    f"widths (relative error {error:.1g})"
                )
        return derived, None

    def _outputs(self, module: nn.Module, state: Mapping[str, Tensor]) -> list[Tensor] | None:
        """What a module itself computes; None where a part of it is in float32 by name."""
        try:
            return outputs(module, state, self.inputs)
        except Exception as error:  # a forward pass may raise anything
            if isinstance(error, RuntimeError) and mixes_precisions(error):
                return None
            raise TraceError(
                f"{type(module).__name__} does not run with these widths: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _added(
        self, module: nn.Module, widened: PermutationSpec, widths: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """The trial state with further units of random weights, which nothing reads."""
        state = random_state(module, self.seed + 1)
        places, widened_places = tensor_views(self.spec), tensor_views(widened)
        slots = first_slots(self.spec, widened)
        for name, narrow in self.state.items():
            if not narrow.is_floating_point():
                continue
            both, shapes = (
                (places[name], widened_places[name]),
                (narrow.shape, widened.shapes[name]),
            )
            maps = axis_maps(*both, *shapes, slots, name)
            kept = spread(torch.ones_like(narrow), maps) > 0
            extra = state[name].clone()
            for axis_map in maps:
                for at in axis_map.occupancies:
                    group = at.place.group
                    if group in widths and CONSUMES in self.roles[(name, group, at.place.axes)]:
                        rest = (at.wide >= 0) & ~np.isin(at.wide, slots[group])
                        extra = _cleared(extra, axis_map.axes, np.flatnonzero(rest))
            state[name] = torch.where(kept, spread(narrow, maps), extra)
        return state


def widening(module: nn.Module, example_inputs: Sequence[object], *, seed: int = 0) -> Widening:
    """Trace a module and find out which tensors make units and which read them."""
    inputs = tuple(example_inputs)
    derived = derive_spec(module, inputs)
    state, values = random_state(module, seed), random_inputs(inputs, seed)
    roles = find_roles(derived, state, values)
    return Widening(module, derived, roles, values, state, inputs, seed)


def apart(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Slots of two models' units, none shared."""
    return np.arange(size), size + np.arange(size)


def _cleared(tensor: Tensor, axes: tuple[int, ...], positions: np.ndarray) -> Tensor:
    """Zeros at positions of the flattened axes."""
    flat = to_front(tensor, axes).clone()
    flat[torch.from_numpy(positions)] = 0
    return from_front(flat, axes, [tensor.shape[a] for a in axes])


def _explained(difference: WidthDifference, groups: Sequence[str]) -> str:
    names = ", ".join(f"'{g}'" for g in groups[:3])
    return (
        f"another number of units of {names} changes what {difference} computes: there the units "
        "act on each other (a norm, a softmax, a mean over them, or a scale by their number)"
    )
