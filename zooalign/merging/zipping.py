"""ZipIt: units are merged with whatever unit is most like them, of either model.

Stoica et al. (2305.03053): the units of all models are put side by side and paired greedily by the
correlation of their activations, until as many are left as one model has. So a model may merge two
of its units that do nearly the same, and give the room to units only the other has. After a given
layer nothing is merged: the models go on side by side.

This is exact for units that are equal. All else is an approximation, the better the more alike
the units are.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import read_batches
from zooalign.merging.pairs import unit_similarity
from zooalign.merging.partial import PartialMerge, groups_after, in_order, into, two_shares
from zooalign.merging.slot_merge import conflicts
from zooalign.merging.widening import apart, widening

__all__ = ["greedy_slots", "zip_merge"]


def zip_merge(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[object],
    up_to: str | None = None,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> PartialMerge:
    """Merge two models with units paired across and within them, up to a layer.

    Parameters
    ----------
    a, b:
        State dicts, ``b`` in the order of ``a``'s units: groups that cannot be zipped (heads and
        their dims, tied tensors) are averaged pair by pair.
    module:
        The architecture; its values are not used.
    data:
        Batches of inputs (targets are not used), read three times.
    up_to:
        A group id: units of the groups that come after it in the network are kept apart. Not
        given: all are merged, and the result has the models' shapes.
    weights:
        Two positive weights of the models; equal if None.

    Returns
    -------
    The merge. ``refused`` has the groups that were averaged pair by pair instead, with the reason.

    Raises
    ------
    MergeError, DataError, TraceError
        As for :func:`~zooalign.merging.partial.partial_merge`.
    """
    batches = list(data)
    shares = two_shares(weights, "zipping")
    plan = widening(module, next(read_batches(batches)).args, seed=seed)
    spec, order = plan.spec, in_order(plan)
    after = groups_after(order, up_to)
    known = conflicts(spec, plan.roles)
    refused = {g: known[g] for g in order if g in known} | plan.refused(after)
    across, within_a, within_b = (
        unit_similarity(spec, x, y, module=module, data=batches)
        for x, y in ((a, b), (a, a), (b, b))
    )
    slots = {}
    for group in order:
        size = spec.by_id[group].size
        if group in refused:
            continue
        if group in after:
            slots[group] = apart(size)
        elif group not in across:
            refused[group] = "its units are seen in no activation"
        else:
            parts = [[within_a[group], across[group]], [across[group].T, within_b[group]]]
            both = greedy_slots(np.block(parts), size)
            slots[group] = (both[:size], both[size:])
    # Slots with more than one unit.
    merged = {
        group: np.bincount(np.concatenate(by_model))[by_model[0]] > 1
        for group, by_model in slots.items()
    }
    return into(plan, [a, b], slots, shares, merged, refused)


def greedy_slots(similarity: np.ndarray, count: int) -> np.ndarray:
    """Slots of units that are paired greedily, most alike first, until ``count`` slots are left.

    ``similarity`` is symmetric, of shape (units, units), and ``count`` at least half of the units.
    Slots are numbered by their first unit.
    """
    units = len(similarity)
    if not 2 * count >= units >= count:
        raise MergeError(f"{units} units cannot be paired into {count} slots")
    rows, columns = np.triu_indices(units, 1)
    partner = np.arange(units)
    left = units - count
    for number in np.argsort(-similarity[rows, columns], kind="stable"):
        if not left:
            break
        i, j = rows[number], columns[number]
        if partner[i] == i and partner[j] == j:
            partner[j], partner[i] = i, j
            left -= 1
    heads = np.minimum(partner, np.arange(units))
    return np.asarray(np.unique(heads, return_inverse=True)[1], dtype=np.int64)
