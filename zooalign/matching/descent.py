"""Coordinate descent over families of groups: each is assigned while all others are held.

One family of groups after another is assigned (Ainsworth et al., arXiv 2209.04836, Algorithm 1),
until none gains anything worth it. Only a gain beyond rounding is accepted, so the objective rises
at every step and the descent stops.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.assignment import AssignmentSolver, assign, linear, unit_order, whole
from zooalign.matching.objective import Scale, inner
from zooalign.matching.places import Place, families, parameter_places
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Descent"]

# A gain smaller than this share of what a family could hold at most may be rounding of float32.
_ROUNDING = 1e-6
# The descent goes on while a family gains this share of its value; the last sweeps take any gain.
_WORTH = 3e-3
_LAST_SWEEPS = 2
# Products of unchanged tensors are kept up to this many numbers (4 bytes each).
_MOST_KEPT = 4_000_000
_MOST_SWEEPS = 200


class Descent:
    """One descent. ``current`` is the source under the permutation found so far.

    Parameters
    ----------
    target, source:
        The tensors that are compared, by name, on one device and in a dtype that is computed with.
    begin:
        Where the descent starts.
    scale:
        What each tensor counts.
    solver:
        Solves one plain assignment.
    similarity:
        Per group, of shape (units, units), target by source as it is given: what pairing two units
        is worth beside the weights. Groups that are not named get nothing.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        begin: Permutation,
        scale: Scale,
        solver: AssignmentSolver = linear,
        similarity: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.spec, self.solver, self.permutation = spec, solver, begin
        self.target, self.scale = target, scale
        self.current = {n: spec.apply_to_tensor(begin, n, source[n]) for n in target}
        self.places = parameter_places(spec, target)
        self.extra = {
            g: np.asarray(m, dtype=np.float64)[:, unit_order(spec, g, begin)]
            for g, m in (similarity or {}).items()
        }
        known = {*self.places, *self.extra}
        self.families = [f for f in families(spec) if any(g in known for g in f)]
        self.touched = {
            family: sorted({p.tensor for g in family for p in self.places.get(g, ())})
            for family in self.families
        }
        self.kept: dict[Place, Tensor] = {}
        self.neighbours: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for family, tensors in self.touched.items():
            for name in tensors:
                self.neighbours[name].append(family)

    def objective(self) -> float:
        """The scaled inner product with the current source and the extra similarity, in float64."""
        extra = sum(float(np.trace(m)) for m in self.extra.values())
        return self.scale.value(self.target, self.current) + extra

    def run(self, generator: np.random.Generator) -> int:
        """Sweep over the families in random order until none gains; the number of sweeps."""
        sweeps, waiting, last = 0, set(self.families), 0
        while waiting and sweeps < _MOST_SWEEPS and last < _LAST_SWEEPS:
            sweeps += 1
            order = [f for f in self.families if f in waiting]
            for number in generator.permutation(len(order)):
                family = order[number]
                waiting.discard(family)
                if self._improve(family, 0.0 if last else _WORTH):
                    changed = {f for n in self.touched[family] for f in self.neighbours[n]}
                    # Its own optimum has moved only if it stands on two axes of a tensor.
                    waiting |= changed if self._twice(family) else changed - {family}
            if last or not waiting:
                last += 1
                waiting = waiting or (set(self.families) if last == 1 else set())
        return sweeps

    def _twice(self, family: tuple[str, ...]) -> bool:
        axes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
        for group in family:
            for place in self.places.get(group, ()):
                axes[place.tensor].add(place.axes)
        return any(len(found) > 1 for found in axes.values())

    def _improve(self, family: tuple[str, ...], worth: float) -> bool:
        similarity = self._similarities(family)
        step = whole(self.spec, assign(self.spec, similarity, solver=self.solver))
        orders = {g: unit_order(self.spec, g, step) for g in similarity}
        # The similarities are the objective itself while the family stands on one axis only.
        value = sum(
            float(m[np.arange(len(m)), orders[g]].sum(dtype=np.float64))
            for g, m in similarity.items()
        )
        gain = value - sum(float(np.trace(m, dtype=np.float64)) for m in similarity.values())
        extra = {g: self.extra[g] for g in family if g in self.extra}
        most = sum(self.scale.bound[n] for n in self.touched[family])
        limit = _ROUNDING * (most + sum(float(abs(m).max(axis=1).sum()) for m in extra.values()))
        if gain <= max(limit, worth * abs(value)):
            return False
        moved = {g: m[:, orders[g]] for g, m in extra.items()}
        changed = {
            n: self.spec.apply_to_tensor(step, n, self.current[n]) for n in self.touched[family]
        }
        if self._twice(family):
            gain = self._gain(changed) + sum(float(np.trace(moved[g] - extra[g])) for g in moved)
            if gain <= limit:
                return False
        self.current.update(changed)
        self.extra.update(moved)
        self.permutation = self.spec.compose(step, self.permutation)
        self._refresh(family, step)
        return True

    def _similarities(self, family: tuple[str, ...]) -> dict[str, np.ndarray]:
        found = {g: self._similarity(self.places[g]) for g in family if g in self.places}
        for g in family:
            if g in self.extra:
                found[g] = found[g] + self.extra[g] if g in found else self.extra[g]
        return found

    def _refresh(self, family: tuple[str, ...], step: Permutation) -> None:
        """Keep what a step only reorders: the family's own products, unless it stands twice."""
        moved = set(self.touched[family])
        twice = self._twice(family)
        for place in [p for p in self.kept if p.tensor in moved]:
            if place.group in family and not twice:
                order = torch.from_numpy(unit_order(self.spec, place.group, step))
                product = self.kept[place]
                self.kept[place] = product.index_select(1, order.to(product.device))
            else:
                del self.kept[place]

    def _gain(self, changed: Mapping[str, Tensor]) -> float:
        return sum(
            (inner(self.target[n], t) - inner(self.target[n], self.current[n]))
            * self.scale.share[n]
            for n, t in changed.items()
        )

    def _similarity(self, places: list[Place]) -> np.ndarray:
        """Inner products of target and current units, over all their places."""
        total: Tensor | None = None
        vectors: list[tuple[Tensor, Tensor]] = []
        for place in places:
            if place in self.kept:
                total = self.kept[place].clone() if total is None else total.add_(self.kept[place])
                continue
            a = place.rows(self.target[place.tensor])
            b = place.rows(self.current[place.tensor])
            if a.shape[1] == 1:  # biases and norms: all of them in one product
                vectors.append((a * self.scale.share[place.tensor], b))
                continue
            product = torch.mm(a, b.T).mul_(self.scale.share[place.tensor])
            if sum(t.numel() for t in self.kept.values()) + product.numel() <= _MOST_KEPT:
                self.kept[place] = product
                product = product.clone() if total is None else product
            total = product if total is None else total.add_(product)
        if vectors:
            left, right = (torch.cat(side, dim=1) for side in zip(*vectors, strict=True))
            total = left @ right.T if total is None else total.addmm_(left, right.T)
        assert total is not None
        return total.cpu().numpy()
