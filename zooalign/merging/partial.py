"""Partial merging: units that are alike are merged, the others of both models are kept.

Of two aligned models with n units in a group, k pairs are averaged and the others stay apart: the
merged model has 2n - k units there (PLeaS, Nasery et al. 2407.02447; up to a layer, ZipIt, Stoica
et al. 2305.03053). All pairs merged is the average of the weights; none is the two models side by
side in one network, their outputs averaged. ZipIt's merging of units of one model with each other
is in :mod:`zooalign.merging.zipping`; PLeaS' least squares, in :mod:`zooalign.merging.refit`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.keywords import settings_of
from zooalign.matching.producers_consumers import CONSUMES, PRODUCES
from zooalign.matching.unit_views import activation_views
from zooalign.matching.widths import Padded, widen_module, widened_shapes
from zooalign.merging.interpolate import normalised
from zooalign.merging.pairs import merged_within, most_alike, pair_similarity
from zooalign.merging.slot_merge import GroupSlots, merge_into_slots
from zooalign.merging.widening import Widening, widening
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["PartialMerge", "PartialSettings", "partial_merge"]


@dataclass(frozen=True, eq=False)
class PartialMerge:
    """A merged model, wider than its parents.

    Attributes
    ----------
    state:
        Its state dict.
    module:
        The architecture in these widths, holding the state dict, in eval mode.
    spec:
        Of that architecture.
    merged:
        Per group a boolean for every unit: merged with another, or kept. Groups not named are
        merged pair by pair.
    widths:
        Per group that was not merged pair by pair the number of units before and after.
    refused:
        Groups that were to be widened and cannot be, with the reason: merged whole.
    parameters:
        Number of parameters, relative to one parent.
    slots:
        Where the units of either parent went, in the groups that were not merged pair by pair.
    weights:
        Of the parents.
    """

    state: Mapping[str, Tensor]
    module: nn.Module
    spec: PermutationSpec
    merged: Mapping[str, np.ndarray]
    widths: Mapping[str, tuple[int, int]]
    refused: Mapping[str, str]
    parameters: float
    slots: GroupSlots
    weights: tuple[float, ...]


@dataclass(frozen=True)
class PartialSettings:
    """Which pairs of units are merged.

    Attributes
    ----------
    merged:
        Share of the pairs that are merged, the most alike: of every group, or by group id (groups
        not named are merged whole).
    up_to:
        A group id: no pair is merged in the groups that come after it in the network.
    budget:
        In place of ``merged``: how many parameters the result may have, relative to one model
        (1 to about 4). The least alike pairs of all groups stay apart, as many as fit in.
    weights:
        Two positive weights of the models; equal if None.
    seed:
        For the random parameters of the trials.
    """

    merged: float | Mapping[str, float] = 1.0
    up_to: str | None = None
    budget: float | None = None
    weights: Sequence[float] | None = None
    seed: int = 0


def partial_merge(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor] | Padded,
    *,
    module: nn.Module,
    example_inputs: Sequence[object],
    similarity: Mapping[str, np.ndarray] | None = None,
    **settings: Any,
) -> PartialMerge:
    """Merge the units of two aligned models that are alike, and keep the others of both.

    Parameters
    ----------
    a, b:
        State dicts, ``b`` in the order of ``a``'s units; or a narrower model, padded to ``a``'s
        width and permuted. ``a``'s units that then have no partner stay as they are.
    module:
        The architecture; its values are not used and it stays as it is.
    example_inputs:
        Positional inputs; only shapes and dtypes matter.
    similarity:
        What :func:`~zooalign.merging.pairs.pair_similarity` gives, of activations or weights. Not
        given: of the weights.
    settings:
        ``merged``, ``up_to``, ``budget``, ``weights`` and ``seed``: see :class:`PartialSettings`.

    Raises
    ------
    MergeError
        If a group named in ``merged`` cannot have more units, with the operator and layer that
        forbid it (groups that are not named are merged whole and reported in ``refused``); or
        arguments do not fit.
    TraceError
        If the module cannot be traced.

    Notes
    -----
    What can be widened is not guessed: every width is tried on the module itself, on random
    parameters in float64. The result's running statistics are those of the parents, exact for the
    units kept and stale for those merged: reset them on ``result.module``, or use
    :func:`~zooalign.merging.repair_partial`.
    """
    which = settings_of(PartialSettings, settings, "partial_merge")
    merged, budget = which.merged, which.budget
    weights = two_shares(which.weights, "partial merging")
    if budget is not None and (merged != 1.0 or which.up_to is not None):
        raise MergeError("give a budget, or which share is merged up to where, not both")
    plan = widening(module, example_inputs, seed=which.seed)
    spec = plan.spec
    padded = dict(b.live) if isinstance(b, Padded) else {}
    state_b: Mapping[str, Tensor] = b.state if isinstance(b, Padded) else b
    live = {g.id: padded.get(g.id, np.ones(g.copies * g.size, dtype=bool)) for g in spec.groups}
    wanted = _wanted(plan, which)
    refused = plan.refused([g for g, share in wanted.items() if share < 1.0])
    for group, reason in refused.items():
        if isinstance(merged, Mapping) and group in merged:
            raise MergeError(f"pairs of '{group}' cannot be kept apart: {reason}")
    chosen_from = {g: share for g, share in wanted.items() if g not in refused and share < 1.0}
    if chosen_from and similarity is None:
        similarity = pair_similarity(spec, a, state_b)
    if budget is None:
        chosen = most_alike(similarity or {}, chosen_from, live)
    else:
        chosen = _within(plan, similarity or {}, list(chosen_from), live, budget)
    slots = {g: _slots(pairs, live[g]) for g, pairs in chosen.items()}
    for group, alive in padded.items():
        if group not in slots and not alive.all():
            _require_one_role(plan, group)
            slots[group] = _slots(alive, alive)
    return into(plan, [a, state_b], slots, weights, chosen, refused)


def two_shares(weights: Sequence[float] | None, operation: str) -> tuple[float, ...]:
    """Two positive weights that sum to one; equal if None."""
    shares = normalised(weights, 2)
    if min(shares) <= 0:
        raise MergeError(f"{operation} takes two positive weights, not {list(shares)}")
    return shares


def into(
    plan: Widening,
    states: Sequence[Mapping[str, Tensor]],
    slots: GroupSlots,
    weights: Sequence[float],
    merged: Mapping[str, np.ndarray],
    refused: Mapping[str, str],
) -> PartialMerge:
    """The models merged into slots, with the module in the widths that takes."""
    spec, wider = plan.spec, plan.widened(slots).spec
    state = merge_into_slots(spec, wider, states, slots, plan.roles, weights)
    holder = widen_module(plan.module, wider.shapes)
    holder.load_state_dict(state, strict=False)
    count = _parameters(spec, wider.shapes) / _parameters(spec, spec.shapes)
    widths = {g: (spec.by_id[g].size, wider.by_id[g].size) for g in slots}
    return PartialMerge(
        state, holder, wider, merged, widths, refused, count, dict(slots), tuple(weights)
    )


def _wanted(plan: Widening, settings: PartialSettings) -> dict[str, float]:
    """Which share of the pairs is to be merged in each group."""
    order, merged, up_to = in_order(plan), settings.merged, settings.up_to
    if settings.budget is not None:
        return dict.fromkeys(order, 0.0)
    given = merged if isinstance(merged, Mapping) else dict.fromkeys(order, float(merged))
    require_groups(order, given)
    after = groups_after(order, up_to)
    shares = {g: float(given.get(g, 1.0)) for g in order}
    for group, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise MergeError(f"the share of pairs to merge in '{group}' is {share}, not in 0 to 1")
    return shares | dict.fromkeys(after, 0.0)


def require_groups(order: Sequence[str], groups: Iterable[str]) -> None:
    """Raise :class:`MergeError` for a group that is not in the network."""
    unknown = [group for group in groups if group not in order]
    if unknown:
        raise MergeError(f"there is no group '{unknown[0]}'; there are {', '.join(order[:8])}")


def groups_after(order: Sequence[str], up_to: str | None) -> Sequence[str]:
    """The groups that come after one in the network; none where it is None."""
    if up_to is None:
        return []
    require_groups(order, [up_to])
    return order[order.index(up_to) + 1 :]


def in_order(plan: Widening) -> list[str]:
    """Groups in the order in which the network computes their units."""
    seen: dict[str, None] = {}
    for places in activation_views(plan.derived, "all").values():
        seen |= dict.fromkeys(p.group for p in places)
    return [*seen, *(g.id for g in plan.spec.groups if g.id not in seen)]


def _within(
    plan: Widening,
    similarity: Mapping[str, np.ndarray],
    groups: Sequence[str],
    live: Mapping[str, np.ndarray],
    budget: float,
) -> dict[str, np.ndarray]:
    def size(apart: Mapping[str, int]) -> int:
        widths = {g: plan.spec.by_id[g].size + more for g, more in apart.items()}
        return _parameters(plan.spec, widened_shapes(plan.spec, widths))

    most = budget * _parameters(plan.spec, plan.spec.shapes)
    if not most >= size({}):
        raise MergeError(f"a budget of {budget} is less than one model has: give 1 or more")
    return merged_within(similarity, groups, live, size, most)


def _parameters(spec: PermutationSpec, shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(
        prod(shape)
        for name, shape in shapes.items()
        if name not in spec.buffers and spec.tied.get(name, name) == name
    )


def _require_one_role(plan: Widening, group: str) -> None:
    for (name, other, _), role in plan.roles.items():
        if other == group and {PRODUCES, CONSUMES} <= role:
            raise MergeError(
                f"'{name}' makes the units of '{group}' and reads them too: those without a "
                "partner cannot stay as they are. Average the padded state dicts instead"
            )


def _slots(merged: np.ndarray, live: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first model's units in their places, the second's beside their partners or behind."""
    first = np.arange(len(live))
    kept = live & ~merged
    second = np.where(live, first, -1)
    second[kept] = len(live) + np.arange(int(kept.sum()))
    return first, second
