"""The weight objective: inner products of two models' tensors, each counted by its norms."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.assignment import AssignmentSolver, assign, linear, unit_order, whole
from zooalign.matching.places import Place, families, parameter_places
from zooalign.matching.result import Match
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "Descent",
    "Found",
    "Scale",
    "inner",
    "next_start",
    "norm",
    "perturbed",
    "summary",
    "tensors_matched",
    "weight_matching",
    "wide",
]


# The objective, over its upper bound, is this near 1 at most through the rounding of float32.
REACHED = 1e-7
_PIECE = 1 << 20
_POWER = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}


@dataclass(frozen=True)
class Scale:
    """What each tensor's inner product counts.

    Attributes
    ----------
    share:
        Factor of each tensor's inner product.
    bound:
        The largest each scaled inner product can be, under any permutation (Cauchy-Schwarz).
    """

    share: Mapping[str, float]
    bound: Mapping[str, float]

    @classmethod
    def of(cls, kind: str, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> "Scale":
        """The factors for two state dicts of the same names.

        ``kind``: ``plain`` leaves the inner products as they are (the published objective),
        ``balanced`` divides each by the square root of the product of the tensor's two norms, so
        that one large layer does not decide for all, ``cosine`` by the product.

        Raises
        ------
        MergeError
            For another kind, or a tensor that holds a value that is not finite.
        """
        if kind not in _POWER:
            raise MergeError(f"no scale '{kind}'; there are {', '.join(_POWER)}")
        power = _POWER[kind]
        both = {n: norm(n, t) * norm(n, source[n]) for n, t in target.items()}
        share = {n: value**-power if value else 0.0 for n, value in both.items()}
        return cls(share, {n: both[n] * share[n] for n in both})

    @property
    def total(self) -> float:
        """The largest the whole objective can be; 1 where everything is zero."""
        return sum(self.bound.values()) or 1.0

    def value(self, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> float:
        """The scaled inner product of two state dicts, in float64."""
        return sum(inner(t, source[n]) * self.share[n] for n, t in target.items())


def tensors_matched(
    spec: PermutationSpec, target: Mapping[str, Tensor], source: Iterable[str]
) -> list[str]:
    """Names of the tensors that weights are compared in: parameters that a group moves."""
    buffers, there = set(spec.buffers), set(source)
    return [n for n in spec.by_parameter if n in target and n in there and n not in buffers]


def wide(tensor: Tensor) -> Tensor:
    """16-bit values as float32, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def inner(a: Tensor, b: Tensor) -> float:
    """The inner product in float64, without a float64 copy of a whole tensor."""
    pieces = zip(a.reshape(-1).split(_PIECE), b.reshape(-1).split(_PIECE), strict=True)
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces)


def norm(name: str, tensor: Tensor) -> float:
    """The Euclidean norm in float64; MergeError, by name, where a value is not finite."""
    value = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    if not isfinite(value):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return value


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


# Every so many starts one leaves the best for a random permutation.
_AFRESH = 4
# A perturbation shuffles between this share of a group's units and all of them.
_LEAST = 0.2


@dataclass(frozen=True)
class Found:
    """What one local search ended at, and after how many sweeps."""

    objective: float
    permutation: Permutation
    sweeps: int = 0


def next_start(
    spec: PermutationSpec,
    found: Sequence[Found],
    number: int,
    restarts: str,
    generator: np.random.Generator,
    seed: int,
) -> Permutation:
    """The permutation that start ``number`` (from 1 on) begins at."""
    if restarts == "random" or number % _AFRESH == 0:
        return spec.random(seed + number)
    best = max(found, key=lambda one: one.objective)
    return perturbed(spec, best.permutation, generator)


def perturbed(
    spec: PermutationSpec, permutation: Permutation, generator: np.random.Generator
) -> Permutation:
    """A permutation with part of the units of one family of groups shuffled.

    The family is drawn at random, and the share of its units that are shuffled too; what is
    nested in a unit moves with it.
    """
    choices = families(spec)
    if not choices:
        return permutation
    family = choices[int(generator.integers(len(choices)))]
    share = generator.uniform(_LEAST, 1.0)
    parts = {}
    for name in family:
        group = spec.by_id[name]
        index = np.tile(np.arange(group.size), (group.copies, 1))
        count = min(group.size, max(2, round(share * group.size)))
        for row in index:
            chosen = generator.choice(group.size, count, replace=False)
            row[np.sort(chosen)] = chosen
        parts[name] = index.reshape(*group.contexts, group.size)
    return spec.compose(whole(spec, parts), permutation)


def summary(found: Sequence[Found]) -> Mapping[str, float]:
    """Starts and their spread, for a report: how far local searches end from each other."""
    values = [one.objective for one in found]
    best = max(values)
    return {
        "starts": len(values),
        "spread": best - min(values),
        "mean_of_starts": sum(values) / len(values),
        "best_start": values.index(best),
    }


Progress = Callable[[int], None]


def weight_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    starts: int = 1,
    restarts: str = "random",
    seed: int = 0,
    scale: str = "balanced",
    solver: AssignmentSolver = linear,
    initial: Permutation | None = None,
    similarity: Mapping[str, np.ndarray] | None = None,
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
        How many descents are made at most; the first starts at ``initial``. The best is returned.
        None follows one that reaches the upper bound of the objective: no permutation is better.
    restarts:
        Where the other descents start: ``random``, at random permutations; ``perturb``, at the
        best permutation found so far with part of the units of one family of groups shuffled
        (iterated local search, Lourenço et al. 2003), every fourth at a random permutation.
    seed:
        For the starts and the order of families.
    scale:
        What each tensor's inner product counts: ``plain`` as it is (the published objective),
        ``balanced`` divided by the square root of the product of the tensor's two norms, so that
        one large layer does not decide for all, ``cosine`` divided by the product.
    initial:
        Where the first descent starts (the identity if not given).
    similarity:
        Per group, of shape (units, units), target by source: what pairing two units is worth
        beside the weights, in units of the objective as it is reported.

    Raises
    ------
    MergeError
        If a tensor holds a value that is not finite, or for an unknown ``scale`` or ``restarts``.
    """
    if restarts not in ("perturb", "random"):
        raise MergeError(f"no restarts '{restarts}'; there are 'perturb' and 'random'")
    names = tensors_matched(spec, target, source)
    left = {n: wide(target[n]) for n in names}
    right = {n: wide(source[n]) for n in names}
    counted = Scale.of(scale, left, right)
    extra = {g: m * counted.total for g, m in (similarity or {}).items()}
    before = counted.value(left, right) + sum(float(np.trace(m)) for m in extra.values())
    found: list[Found] = []
    for number in range(max(1, starts)):
        generator = np.random.default_rng(seed + number)
        begin = initial or spec.identity()
        if number:
            begin = next_start(spec, found, number, restarts, generator, seed)
        descent = Descent(spec, left, right, begin, counted, solver, extra)
        sweeps = descent.run(generator)
        found.append(Found(descent.objective() / counted.total, descent.permutation, sweeps))
        if progress is not None:
            progress(number + 1)
        if not extra and found[-1].objective >= 1 - REACHED:
            break
    best = max(found, key=lambda one: one.objective)
    details = {**summary(found), "sweeps": best.sweeps}
    return Match(best.permutation, "weight", before / counted.total, best.objective, details)
