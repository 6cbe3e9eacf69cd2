"""From similarities of units to a permutation: linear assignment, nested as groups are."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from zooalign.errors import MergeError
from zooalign.symmetry.groups import Group
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["assign", "best_step", "linear", "unit_order", "whole"]

# Units that the similarities do not tell apart stay where they are.
_STAY = 1e-12


def linear(similarity: np.ndarray) -> np.ndarray:
    """The permutation p that maximises ``sum_i similarity[i, p[i]]``, exactly.

    Ties within rounding are resolved towards the identity. Uses the shortest augmenting path
    algorithm of Crouse (2016) through :func:`scipy.optimize.linear_sum_assignment`.

    Raises
    ------
    MergeError
        A similarity is NaN or infinite.
    """
    if not np.isfinite(similarity).all():
        raise MergeError(
            "similarities of units are not finite: a network gives NaN or infinity on the data, or "
            "values too large to compare"
        )
    scale = max(similarity.max(initial=0.0), -similarity.min(initial=0.0)) or 1.0
    cost = np.negative(similarity, dtype=np.float64)  # maximize=True would copy it once more
    cost.flat[:: len(cost) + 1] -= scale * _STAY
    return np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)


def assign(spec: PermutationSpec, similarity: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Permutations of groups that maximise the total similarity.

    Parameters
    ----------
    similarity:
        Per group id a floating matrix of shape (units, units), target by source, units being all
        units in all contexts, row-major. Groups that are not named keep the identity, unless a
        group nested in them is named.

    Returns
    -------
    Per group of the same families its indices, as in a permutation.

    Notes
    -----
    A nested group is solved for every pair of outer units first; what it gains for the pair is
    added to the outer similarity. This is exact for chains and trees of groups. A group over two
    independent outer groups is solved after them.
    """
    return _Assignment(spec, similarity).run()


class _Assignment:
    def __init__(self, spec: PermutationSpec, similarity: Mapping[str, np.ndarray]) -> None:
        self.spec = spec
        wanted = {outer for name in similarity for outer in (*spec.by_id[name].over, name)}
        self.groups = [g for g in spec.groups if g.id in wanted]
        self.tables = {
            g.id: np.asarray(similarity[g.id]).reshape((*g.contexts, g.size) * 2)
            for g in self.groups
            if g.id in similarity
        }
        self.inner: dict[str, list[Group]] = defaultdict(list)
        self.later: list[Group] = []
        self.roots: list[Group] = []
        for group in self.groups:
            if not any(o in spec.by_id for o in group.over):
                self.roots.append(group)
            elif (last := spec.by_id.get(group.over[-1])) and group.over == (*last.over, last.id):
                self.inner[group.over[-1]].append(group)
            else:
                self.later.append(group)
        self.solved: dict[tuple[str, tuple[int, ...], tuple[int, ...]], np.ndarray] = {}

    def run(self) -> dict[str, np.ndarray]:
        result = {g.id: np.empty((*g.contexts, g.size), dtype=np.int64) for g in self.groups}
        for root in self.roots:
            for context in product(*(range(n) for n in root.contexts)):  # fixed sets only
                self._solve(root, context, context)
                self._collect(root, context, context, result)
        for group in self.later:
            for context in np.ndindex(*group.contexts):
                source = self._source(group, context, result)
                self._solve(group, context, source)
                result[group.id][context] = self.solved[(group.id, context, source)]
        return result

    def _solve(self, group: Group, target: tuple[int, ...], source: tuple[int, ...]) -> float:
        """Best permutation of a group for a pair of contexts; its total similarity."""
        size = group.size
        if group.id in self.tables:
            where: tuple[Any, ...] = (*target, slice(None), *source, slice(None))
            similarity = self.tables[group.id][where]
            if self.inner[group.id]:
                similarity = similarity.astype(np.float64)
        else:
            similarity = np.zeros((size, size))
        for inner in self.inner[group.id]:
            for i in range(size):
                for j in range(size):
                    similarity[i, j] += self._solve(inner, (*target, i), (*source, j))
        best = linear(similarity)
        self.solved[(group.id, target, source)] = best
        return float(similarity[np.arange(size), best].sum())

    def _collect(
        self,
        group: Group,
        target: tuple[int, ...],
        source: tuple[int, ...],
        result: dict[str, np.ndarray],
    ) -> None:
        best = self.solved[(group.id, target, source)]
        result[group.id][target] = best
        for inner in self.inner[group.id]:
            for i, j in enumerate(best):
                self._collect(inner, (*target, i), (*source, int(j)), result)

    def _source(
        self, group: Group, context: tuple[int, ...], result: Mapping[str, np.ndarray]
    ) -> tuple[int, ...]:
        where = dict(zip(group.over, context, strict=True))
        source = dict(where)
        for outer in (o for o in group.over if o not in self.spec.fixed_sets):
            within = tuple(where[o] for o in self.spec.by_id[outer].over)
            source[outer] = int(result[outer][(*within, where[outer])])
        return tuple(source.values())


def whole(spec: PermutationSpec, parts: Mapping[str, np.ndarray]) -> Permutation:
    """A permutation with the given groups, and the identity elsewhere."""
    return Permutation(spec.hash, {**spec.identity().indices, **parts})


def best_step(
    spec: PermutationSpec, similarity: Mapping[str, np.ndarray]
) -> tuple[Permutation, float, float]:
    """The best permutation by similarities, the total over the pairs it makes, and its gain."""
    step = whole(spec, assign(spec, similarity))
    value = sum(
        float(m[np.arange(len(m)), unit_order(spec, g, step)].sum(dtype=np.float64))
        for g, m in similarity.items()
    )
    return (
        step,
        value,
        value - sum(float(np.trace(m, dtype=np.float64)) for m in similarity.values()),
    )


def unit_order(spec: PermutationSpec, name: str, permutation: Permutation) -> np.ndarray:
    """For every unit of a group in every context (row-major), the source unit paired with it."""
    group = spec.by_id[name]
    units = np.arange(group.copies * group.size).reshape(*group.contexts, group.size)
    source = units[spec.old_contexts(group, permutation)] if group.over else units
    return np.take_along_axis(source, permutation.indices[name], axis=-1).reshape(-1)
