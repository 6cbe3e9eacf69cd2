"""The weight objective: inner products of two models' tensors, each counted by its norms."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import pieces
from zooalign.matching.assignment import best_step, unit_order, whole
from zooalign.matching.problem import Match, MatchProblem, Options, Solver, option
from zooalign.matching.unit_views import UnitView, families, parameter_views
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "POWERS",
    "REACHED",
    "RESTARTS",
    "ROUNDING",
    "SCALES",
    "Descent",
    "DescentOptions",
    "GroupFamily",
    "LocalOptimum",
    "Scale",
    "WeightFamilies",
    "WeightMatching",
    "as_float32",
    "compared_weights",
    "descend",
    "inner",
    "norm",
    "perturbed",
    "summary",
    "tensors_matched",
]

# The objective, over its upper bound, is this near 1 at most through the rounding of float32.
REACHED = 1e-7
# A gain smaller than this share of what a family could hold at most may be rounding of float32.
ROUNDING = 1e-6
# Groups that are assigned together.
GroupFamily = tuple[str, ...]
# By scale, the power of the two tensors' norms that their inner product is divided by.
POWERS = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}
SCALES = tuple(POWERS)
RESTARTS = ("perturb", "random")


class WeightFamilies:
    """Families of groups that stand in the named tensors, or have a group among ``also``.

    ``places`` are by group, ``touched`` has by family the tensors it stands in, and ``twice`` the
    families that stand on two axes of a tensor: their similarities are not the objective.
    """

    def __init__(
        self, spec: PermutationSpec, names: Iterable[str], also: Iterable[str] = ()
    ) -> None:
        self.places = parameter_views(spec, names)
        known = {*self.places, *also}
        self.families = [f for f in families(spec) if any(g in known for g in f)]
        self.touched: dict[GroupFamily, list[str]] = {}
        self.twice: set[GroupFamily] = set()
        self._standing_in: dict[str, set[GroupFamily]] = defaultdict(set)
        for family in self.families:
            places = [place for group in family for place in self.places.get(group, ())]
            self.touched[family] = sorted({place.tensor for place in places})
            if len({(p.tensor, p.axes) for p in places}) > len(self.touched[family]):
                self.twice.add(family)
            for name in self.touched[family]:
                self._standing_in[name].add(family)

    def disturbed_by(self, family: GroupFamily) -> set[GroupFamily]:
        """Families whose best assignment may change when this one moves, itself included."""
        return {other for name in self.touched[family] for other in self._standing_in[name]}


@dataclass(frozen=True)
class Scale:
    """What each tensor's inner product counts."""

    # Factor of each tensor's inner product.
    share: Mapping[str, float]
    # The largest each scaled inner product can be, under any permutation (Cauchy-Schwarz).
    bound: Mapping[str, float]

    @classmethod
    def of(cls, kind: str, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> "Scale":
        """The factors for two state dicts of the same names.

        ``kind``: ``plain`` leaves the inner products as they are (the published objective),
        ``balanced`` divides each by the square root of the product of the tensor's two norms, so
        that one large layer does not decide for all, ``cosine`` by the product. Values that are
        not finite raise MergeError.
        """
        both = {n: norm(n, t) * norm(n, source[n]) for n, t in target.items()}
        share = {n: value ** -POWERS[kind] if value else 0.0 for n, value in both.items()}
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


def compared_weights(
    problem: MatchProblem, scale: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], Scale]:
    """The tensors of target and source that are compared, and what each counts."""
    names = tensors_matched(problem.spec, problem.target, problem.source)
    target = {n: as_float32(problem.target[n]) for n in names}
    source = {n: as_float32(problem.source[n]) for n in names}
    return target, source, Scale.of(scale, target, source)


def as_float32(tensor: Tensor) -> Tensor:
    """16-bit values as float32, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def inner(a: Tensor, b: Tensor) -> float:
    """The inner product in float64, without a float64 copy of a whole tensor."""
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces(a, b))


def norm(name: str, tensor: Tensor) -> float:
    """The Euclidean norm in float64; MergeError, by name, where a value is not finite."""
    value = sqrt(inner(tensor, tensor))
    if not isfinite(value):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return value


# The descent goes on while a family gains this share of its value; the last sweeps take any gain.
_WORTH = 3e-3
_LAST_SWEEPS = 2
# Products of unchanged tensors are kept up to this many numbers (4 bytes each).
_MOST_KEPT = 4_000_000
_MOST_SWEEPS = 200


class Descent:
    """One descent. ``current`` is the source under the permutation reached so far.

    ``similarity`` has, per group and of shape (units, units), target by source as it is given, what
    pairing two units is worth beside the weights.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        begin: Permutation,
        scale: Scale,
        similarity: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.spec, self.permutation = spec, begin
        self.target, self.scale = target, scale
        self.current = {n: spec.apply_to_tensor(begin, n, source[n]) for n in target}
        self.extra = {
            g: np.asarray(m, dtype=np.float64)[:, unit_order(spec, g, begin)]
            for g, m in (similarity or {}).items()
        }
        self.where = WeightFamilies(spec, target, self.extra)
        self.kept: dict[UnitView, Tensor] = {}

    def objective(self) -> float:
        """The scaled inner product with the current source and the extra similarity, in float64."""
        extra = sum(float(np.trace(m)) for m in self.extra.values())
        return self.scale.value(self.target, self.current) + extra

    def run(self, generator: np.random.Generator) -> int:
        """Sweep over the families in random order until none gains; the number of sweeps."""
        families = self.where.families
        sweeps, waiting, last = 0, set(families), 0
        while waiting and sweeps < _MOST_SWEEPS and last < _LAST_SWEEPS:
            sweeps += 1
            order = [f for f in families if f in waiting]
            for number in generator.permutation(len(order)):
                family = order[number]
                waiting.discard(family)
                if self._improve(family, 0.0 if last else _WORTH):
                    disturbed = self.where.disturbed_by(family)
                    # Its own optimum has moved only if it stands on two axes of a tensor.
                    waiting |= disturbed if family in self.where.twice else disturbed - {family}
            if last or not waiting:
                last += 1
                waiting = waiting or (set(families) if last == 1 else set())
        return sweeps

    def _improve(self, family: GroupFamily, worth: float) -> bool:
        # The similarities are the objective itself while the family stands on one axis only.
        step, value, gain = best_step(self.spec, self._similarities(family))
        extra = {g: self.extra[g] for g in family if g in self.extra}
        most = sum(self.scale.bound[n] for n in self.where.touched[family])
        limit = ROUNDING * (most + sum(float(abs(m).max(axis=1).sum()) for m in extra.values()))
        if gain <= max(limit, worth * abs(value)):
            return False
        moved = {g: m[:, unit_order(self.spec, g, step)] for g, m in extra.items()}
        touched = self.where.touched[family]
        changed = {n: self.spec.apply_to_tensor(step, n, self.current[n]) for n in touched}
        if family in self.where.twice:
            gain = sum(
                (inner(self.target[n], t) - inner(self.target[n], self.current[n]))
                * self.scale.share[n]
                for n, t in changed.items()
            )
            if gain + sum(float(np.trace(moved[g] - extra[g])) for g in moved) <= limit:
                return False
        self.current.update(changed)
        self.extra.update(moved)
        self.permutation = self.spec.compose(step, self.permutation)
        self._refresh(family, step)
        return True

    def _similarities(self, family: GroupFamily) -> dict[str, np.ndarray]:
        places = self.where.places
        similarity = {g: self._similarity(places[g]) for g in family if g in places}
        for g in (g for g in family if g in self.extra):
            similarity[g] = similarity[g] + self.extra[g] if g in similarity else self.extra[g]
        return similarity

    def _refresh(self, family: GroupFamily, step: Permutation) -> None:
        """Keep what a step only reorders: the family's own products, unless it stands twice."""
        moved = set(self.where.touched[family])
        twice = family in self.where.twice
        for place in [p for p in self.kept if p.tensor in moved]:
            if place.group in family and not twice:
                order = torch.from_numpy(unit_order(self.spec, place.group, step))
                product = self.kept[place]
                self.kept[place] = product.index_select(1, order.to(product.device))
            else:
                del self.kept[place]

    def _similarity(self, places: list[UnitView]) -> np.ndarray:
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
class LocalOptimum:
    """What one local search ended at, and after how many sweeps."""

    objective: float
    permutation: Permutation
    sweeps: int = 0


def perturbed(
    spec: PermutationSpec, permutation: Permutation, generator: np.random.Generator
) -> Permutation:
    """A permutation with a random share of the units of one random family of groups shuffled."""
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


def summary(ends: Sequence[LocalOptimum]) -> Mapping[str, float]:
    """Starts and their spread, for a report: how far local searches end from each other."""
    values = [end.objective for end in ends]
    best = max(values)
    return {
        "starts": len(values),
        "spread": best - min(values),
        "mean_of_starts": sum(values) / len(values),
        "best_start": values.index(best),
    }


@dataclass(frozen=True, kw_only=True)
class DescentOptions(Options):
    """How the weights are compared and how long their best match is searched for."""

    starts: int = option(1, "searches from different starts at most; the best is taken")
    restarts: str = option(
        "random",
        "where further searches start: anew, or at the best match so far with part of the units "
        "of one family of groups shuffled (Lourenço et al. 2003), every fourth anew",
        choices=RESTARTS,
    )
    scale: str = option(
        "balanced",
        "what a tensor's inner product is divided by: nothing, the root of the product of the two "
        "norms (so that one large layer does not decide for all), or the product",
        choices=SCALES,
    )


@dataclass(frozen=True, kw_only=True)
class WeightMatching(DescentOptions, Solver):
    """The permutation of the source whose weights have the largest inner product with the target's.

    Coordinate descent over families of groups (Ainsworth et al., arXiv 2209.04836). Buffers
    (running statistics) take no part. No further search follows one that reaches the upper bound
    of the objective: no permutation is better.
    """

    name = "weight"
    objective = "agreement of the weights, of 1 at most"

    def solve(self, problem: MatchProblem) -> Match:
        """Search from the identity, then from further starts.

        Values that are not finite raise MergeError.
        """
        return descend(problem, self)


def descend(
    problem: MatchProblem,
    options: DescentOptions,
    initial: Permutation | None = None,
    similarity: Mapping[str, np.ndarray] | None = None,
) -> Match:
    """The best of several descents, the first of which starts at ``initial``.

    ``similarity`` is as for :class:`Descent`, in units of the objective as it is reported.
    """
    spec, seed = problem.spec, problem.seed
    target, source, scale = compared_weights(problem, options.scale)
    extra = {g: m * scale.total for g, m in (similarity or {}).items()}
    before = scale.value(target, source) + sum(float(np.trace(m)) for m in extra.values())
    ends: list[LocalOptimum] = []
    for number in range(max(1, options.starts)):
        generator = np.random.default_rng(seed + number)
        begin = initial or spec.identity()
        if number and (options.restarts == "random" or number % _AFRESH == 0):
            begin = spec.random(seed + number)
        elif number:
            best = max(ends, key=lambda end: end.objective)
            begin = perturbed(spec, best.permutation, generator)
        descent = Descent(spec, target, source, begin, scale, extra)
        sweeps = descent.run(generator)
        ends.append(LocalOptimum(descent.objective() / scale.total, descent.permutation, sweeps))
        problem.progress(number + 1)
        if not extra and ends[-1].objective >= 1 - REACHED:
            break
    best = max(ends, key=lambda end: end.objective)
    details = {**summary(ends), "sweeps": best.sweeps}
    return Match(best.permutation, "weight", before / scale.total, best.objective, details)
