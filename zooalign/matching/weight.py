"""Weight matching: coordinate descent on the inner product of two models' weights.

One family of groups after another is assigned while all others are held (Ainsworth et al.,
arXiv 2209.04836, Algorithm 1), until none gains
anything worth it. Only a gain beyond rounding is accepted, so the objective rises at every step
and the descent stops.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.assignment import (
    AssignmentSolver,
    assign,
    linear,
    unit_order,
    whole,
)
from zooalign.matching.places import Place, families, parameter_places
from zooalign.matching.result import Match
from zooalign.symmetry.apply import apply_to_tensor
from zooalign.symmetry.permutation import Permutation, compose
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["weight_matching"]

Progress = Callable[[int], None]

# A gain smaller than this share of what a family could hold at most may be rounding of float32.
_ROUNDING = 1e-6
# The descent goes on while a family gains this share of its value; the last sweeps take any gain.
_WORTH = 3e-3
_LAST_SWEEPS = 2
# Products of unchanged tensors are kept up to this many numbers (4 bytes each).
_MOST_KEPT = 4_000_000
_MOST_SWEEPS = 200
_PIECE = 1 << 20

_POWER = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}


def weight_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    starts: int = 1,
    seed: int = 0,
    scale: str = "balanced",
    solver: AssignmentSolver = linear,
    initial: Permutation | None = None,
    progress: Progress | None = None,
) -> Match:
    """The permutation of ``source`` whose weights have the largest inner product with ``target``'s.

    Parameters
    ----------
    spec:
        Of the architecture.
    target, source:
        State dicts. Buffers (running statistics) take no part.
    starts:
        How many descents are made; the first starts at ``initial``, the others at random members
        of the group. The best is returned.
    seed:
        For the starts and the order of families.
    scale:
        What each tensor's inner product counts: ``plain`` as it is (the published objective),
        ``balanced`` divided by the square root of the product of the tensor's two norms, so that
        one large layer does not decide for all, ``cosine`` divided by the product.
    initial:
        Where the first descent starts (the identity if not given).

    Raises
    ------
    MergeError
        If a tensor holds a value that is not finite.
    """
    if scale not in _POWER:
        raise MergeError(f"no scale '{scale}'; there are {', '.join(_POWER)}")
    before, norm, descents = 0.0, 1.0, []
    for start in range(max(1, starts)):
        begin = (initial or spec.identity()) if start == 0 else spec.random(seed + start)
        descent = _Descent(spec, target, source, begin, solver, _POWER[scale])
        if start == 0:
            norm = sum(descent.norms.values()) or 1.0
            before = descent.objective() if initial is None else descent.objective(source)
        sweeps = descent.run(np.random.default_rng(seed + start))
        descents.append((descent.objective() / norm, descent.permutation, sweeps))
        if progress is not None:
            progress(start + 1)
    after, permutation, sweeps = max(descents, key=lambda found: found[0])
    values = [value for value, _, _ in descents]
    details = {"starts": len(values), "sweeps": sweeps, "spread": max(values) - min(values)}
    return Match(permutation, "weight", before / norm, after, details)


class _Descent:
    """One descent. ``current`` is the source under the permutation found so far."""

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        begin: Permutation,
        solver: AssignmentSolver,
        power: float,
    ) -> None:
        self.spec, self.solver, self.permutation = spec, solver, begin
        buffers = set(spec.buffers)
        names = [n for n in spec.by_parameter if n in target and n in source and n not in buffers]
        self.target = {n: _wide(target[n]) for n in names}
        self.current = {n: apply_to_tensor(spec, begin, n, _wide(source[n])) for n in names}
        norms = {n: _norm(n, self.target[n]) * _norm(n, self.current[n]) for n in names}
        self.share = {n: norms[n] ** -power if norms[n] else 0.0 for n in names}
        self.norms = {n: norms[n] * self.share[n] for n in names}
        self.places = parameter_places(spec, names)
        self.families = [f for f in families(spec) if any(g in self.places for g in f)]
        self.touched = {
            family: sorted({p.tensor for g in family for p in self.places.get(g, ())})
            for family in self.families
        }
        self.kept: dict[Place, Tensor] = {}
        self.neighbours: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for family, tensors in self.touched.items():
            for name in tensors:
                self.neighbours[name].append(family)

    def objective(self, source: Mapping[str, Tensor] | None = None) -> float:
        """The scaled inner product with the current (or another) source, in float64."""
        other = self.current if source is None else source
        return sum(_inner(t, other[n]) * self.share[n] for n, t in self.target.items())

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
        similarity = {g: self._similarity(self.places[g]) for g in family if g in self.places}
        parts = assign(self.spec, similarity, solver=self.solver)
        step = whole(self.spec, parts)
        # The similarities are the objective itself while the family stands on one axis only.
        value = sum(
            float(m[np.arange(len(m)), unit_order(self.spec, g, step)].sum(dtype=np.float64))
            for g, m in similarity.items()
        )
        gain = value - sum(float(np.trace(m, dtype=np.float64)) for m in similarity.values())
        limit = _ROUNDING * sum(self.norms[n] for n in self.touched[family])
        if gain <= max(limit, worth * abs(value)):
            return False
        changed = {
            n: apply_to_tensor(self.spec, step, n, self.current[n]) for n in self.touched[family]
        }
        if self._twice(family) and self._gain(changed) <= limit:
            return False
        self.current.update(changed)
        self.permutation = compose(self.spec, step, self.permutation)
        self._refresh(family, step)
        return True

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
            (_inner(self.target[n], t) - _inner(self.target[n], self.current[n])) * self.share[n]
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
                vectors.append((a * self.share[place.tensor], b))
                continue
            product = torch.mm(a, b.T).mul_(self.share[place.tensor])
            if sum(t.numel() for t in self.kept.values()) + product.numel() <= _MOST_KEPT:
                self.kept[place] = product
                product = product.clone() if total is None else product
            total = product if total is None else total.add_(product)
        if vectors:
            left, right = (torch.cat(side, dim=1) for side in zip(*vectors, strict=True))
            total = left @ right.T if total is None else total.addmm_(left, right.T)
        assert total is not None
        return total.cpu().numpy()


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _inner(a: Tensor, b: Tensor) -> float:
    """The inner product in float64, without a float64 copy of a whole tensor."""
    pieces = zip(a.reshape(-1).split(_PIECE), b.reshape(-1).split(_PIECE), strict=True)
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces)


def _norm(name: str, tensor: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    if not isfinite(norm):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return norm
