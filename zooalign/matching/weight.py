"""Weight matching: coordinate descent on the inner product of two models' weights.

One family of groups after another is assigned while all others are held (Ainsworth et al.,
arXiv 2209.04836, Algorithm 1), until nothing improves. Sums are compared in float64 and only a
real gain is accepted, so the objective rises at every step and the descent stops.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.assignment import AssignmentSolver, assign, linear, whole
from zooalign.matching.places import Place, families, parameter_places
from zooalign.matching.result import Match
from zooalign.symmetry.apply import apply_to_tensor
from zooalign.symmetry.permutation import Permutation, compose
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["weight_matching"]

Progress = Callable[[int], None]

# A gain smaller than this share of the objective's scale is rounding.
_GAIN = 1e-9
_MOST_SWEEPS = 200

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
    descents = []
    for start in range(max(1, starts)):
        begin = (initial or spec.identity()) if start == 0 else spec.random(seed + start)
        descent = _Descent(spec, target, source, begin, solver, _POWER[scale])
        descents.append(descent.run(np.random.default_rng(seed + start)))
        if progress is not None:
            progress(start + 1)
    identity = _Descent(spec, target, source, spec.identity(), solver, _POWER[scale])
    best = max(descents, key=lambda d: d[1])
    norm = identity.scale
    values = [value / norm for _, value, _ in descents]
    return Match(
        best[0],
        "weight",
        identity.objective() / norm,
        best[1] / norm,
        {"starts": len(descents), "sweeps": best[2], "spread": max(values) - min(values)},
    )


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
        names = [n for n in spec.by_parameter if n in target and n not in buffers]
        self.target = {n: _finite(n, target[n]) for n in names}
        self.current = {n: apply_to_tensor(spec, begin, n, _finite(n, source[n])) for n in names}
        norms = {n: _norm(self.target[n]) * _norm(self.current[n]) for n in names}
        self.share = {n: norms[n] ** -power if norms[n] else 0.0 for n in names}
        self.scale = sum(norms[n] * self.share[n] for n in names) or 1.0
        self.places = parameter_places(spec, names)
        self.families = [f for f in families(spec) if any(g in self.places for g in f)]
        self.touched = {
            family: sorted({p.tensor for g in family for p in self.places.get(g, ())})
            for family in self.families
        }
        self.neighbours: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for family, tensors in self.touched.items():
            for name in tensors:
                self.neighbours[name].append(family)
        self.value = {n: self._value(n, self.current[n]) for n in names}

    def objective(self) -> float:
        """The scaled inner product, in float64."""
        return sum(self.value.values())

    def _value(self, name: str, tensor: Tensor) -> float:
        return _inner(self.target[name], tensor) * self.share[name]

    def run(self, generator: np.random.Generator) -> tuple[Permutation, float, int]:
        """Sweep over the families in random order until none improves."""
        waiting = set(self.families)
        sweeps = 0
        while waiting and sweeps < _MOST_SWEEPS:
            sweeps += 1
            order = [f for f in self.families if f in waiting]
            for number in generator.permutation(len(order)):
                family = order[number]
                waiting.discard(family)
                if self._improve(family):
                    # Its own optimum depends on it only where it stands on two axes of a tensor.
                    changed = {f for n in self.touched[family] for f in self.neighbours[n]}
                    waiting |= changed - {family} | ({family} if self._twice(family) else set())
        return self.permutation, self.objective(), sweeps

    def _twice(self, family: tuple[str, ...]) -> bool:
        axes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
        for group in family:
            for place in self.places.get(group, ()):
                axes[place.tensor].add(place.axes)
        return any(len(found) > 1 for found in axes.values())

    def _improve(self, family: tuple[str, ...]) -> bool:
        similarity = {g: self._similarity(self.places[g]) for g in family if g in self.places}
        step = whole(self.spec, assign(self.spec, similarity, solver=self.solver))
        move = partial(apply_to_tensor, self.spec, step)
        moved = {n: move(n, self.current[n]) for n in self.touched[family]}
        changed = {n: t for n, t in moved.items() if t is not self.current[n]}
        values = {n: self._value(n, t) for n, t in changed.items()}
        gain = sum(values.values()) - sum(self.value[n] for n in changed)
        if gain <= _GAIN * self.scale:
            return False
        self.current.update(changed)
        self.value.update(values)
        self.permutation = compose(self.spec, step, self.permutation)
        return True

    def _similarity(self, places: list[Place]) -> np.ndarray:
        total: Tensor | None = None
        for place in places:
            a = place.rows(self.target[place.tensor])
            b = place.rows(self.current[place.tensor])
            product = (
                (a @ b.T).double() if a.shape[1] > 1 else torch.outer(a[:, 0], b[:, 0]).double()
            )
            total = product if total is None else total + product
        assert total is not None
        return total.cpu().numpy()


def _finite(name: str, tensor: Tensor) -> Tensor:
    tensor = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    if not bool(torch.isfinite(tensor).all()):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return tensor


def _inner(a: Tensor, b: Tensor) -> float:
    return float(torch.sum(a.double() * b.double()))


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().square().sum()) ** 0.5
