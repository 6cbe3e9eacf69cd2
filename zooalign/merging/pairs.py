"""How alike the paired units of two aligned models are, and which pairs are worth merging."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import State
from zooalign.matching.unit_responses import collect
from zooalign.matching.unit_views import parameter_views
from zooalign.matching.weight import as_float32, tensors_matched
from zooalign.merging.interpolate import check_names
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["merged_within", "most_alike", "pair_similarity", "unit_similarity"]


def pair_similarity(
    spec: PermutationSpec,
    a: State,
    b: State,
    *,
    module: nn.Module | None = None,
    data: Iterable[object] | None = None,
) -> dict[str, np.ndarray]:
    """Similarity of unit i of one model with unit i of the other, which is aligned to it.

    With data, the mean correlation of their activations over the places where they are seen
    (needs ``module``); without, the cosine of all weights that make or read them.

    Returns
    -------
    Per group a float64 array with one number in [-1, 1] per unit (all contexts, row-major).
    """
    if data is not None:
        correlations = unit_similarity(spec, a, b, module=module, data=data)
        return {g: np.diagonal(m).copy() for g, m in correlations.items()}
    check_names(a, b, 1)
    result = {}
    for group, places in parameter_views(spec, tensors_matched(spec, a, b)).items():
        products = np.zeros((3, len(places[0].positions)))
        for place in places:
            x, y = (place.rows(as_float32(state[place.tensor])).double() for state in (a, b))
            sums = torch.stack([(x * y).sum(1), x.square().sum(1), y.square().sum(1)])
            products += sums.cpu().numpy()
        norms = np.sqrt(products[1] * products[2])
        result[group] = products[0] / np.where(norms > 0, norms, 1.0)
    return result


def unit_similarity(
    spec: PermutationSpec,
    a: State,
    b: State,
    *,
    module: nn.Module | None,
    data: Iterable[object],
) -> dict[str, np.ndarray]:
    """Mean correlation of every unit of one model with every unit of the other, aligned to it.

    Per group an array of shape (units, units). With one state dict given twice it is the
    correlation of units within a model.
    """
    if module is None:
        raise MergeError("correlations of activations need the module: pass module=")
    every = frozenset(spec.by_id)
    statistics = collect(spec, a, b, module=module, data=data, groups=every, known=every)
    return {
        group: matrix.cpu().numpy() / statistics.places(group)
        for group, matrix in statistics.similarity().items()
    }


def most_alike(
    similarity: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
    live: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Per group of ``shares`` a boolean for every pair: the most alike, of that share of them.

    Shares are in [0, 1]; ``live`` are the pairs that count at all.
    """
    chosen = {}
    for group, share in shares.items():
        order = _ranked(similarity, group, live[group])
        merged = np.zeros(len(live[group]), dtype=bool)
        merged[order[: round(share * len(order))]] = True
        chosen[group] = merged
    return chosen


def merged_within(
    similarity: Mapping[str, np.ndarray],
    groups: Sequence[str],
    live: Mapping[str, np.ndarray],
    size: Callable[[Mapping[str, int]], int],
    most: float,
) -> dict[str, np.ndarray]:
    """As :func:`most_alike`, over all groups at once: as many pairs apart as a budget allows.

    The least alike pairs of any group stay apart first. ``size`` gives the number of parameters
    for the number of pairs apart in each group, ``most`` what it may be.
    """
    ranked = [
        (float(similarity[g][unit]), g, int(unit))
        for g in groups
        for unit in _ranked(similarity, g, live[g])
    ]
    ranked.sort()

    def apart(count: int) -> Mapping[str, int]:
        return Counter(group for _, group, _ in ranked[:count])

    # The largest number of pairs apart within the budget, and one more.
    beyond = bisect_right(range(len(ranked) + 1), most, key=lambda count: size(apart(count)))
    chosen = {g: live[g].copy() for g in groups}
    for _, group, unit in ranked[: beyond - 1]:
        chosen[group][unit] = False
    return chosen


def _ranked(similarity: Mapping[str, np.ndarray], group: str, live: np.ndarray) -> np.ndarray:
    """The live pairs of a group, most alike first."""
    if group not in similarity:
        raise MergeError(f"no similarity is given for the units of '{group}'")
    values = np.asarray(similarity[group], dtype=np.float64)
    if values.shape != live.shape or not np.isfinite(values).all():
        raise MergeError(
            f"the similarity of '{group}' must be {live.size} finite numbers, one a pair"
        )
    order = np.argsort(-values, kind="stable")
    return np.asarray(order[live[order]])
