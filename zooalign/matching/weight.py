"""The weight objective: inner products of two models' tensors, each counted by its norms."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import LazyTensors, device_of, info_of, pieces
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
    "norm_of",
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
        return cls.of_norms(kind, {n: (norm(n, t), norm(n, source[n])) for n, t in target.items()})

    @classmethod
    def of_norms(cls, kind: str, norms: Mapping[str, tuple[float, float]]) -> "Scale":
        """The factors for tensors whose norms, in target and source, are known."""
        both = {n: a * b for n, (a, b) in norms.items()}
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
    """The tensors of target and source that are compared, in memory, and what each counts."""
    target, source = ({n: as_float32(t) for n, t in s.items()} for s in _compared(problem))
    return target, source, Scale.of(scale, target, source)


def _compared(problem: MatchProblem) -> Iterator[LazyTensors]:
    """The tensors of target and source that are compared, each read when it is asked for."""
    names = tensors_matched(problem.spec, problem.target, problem.source)
    for state in (problem.target, problem.source):
        yield LazyTensors({n: info_of(state, n) for n in names}, state.__getitem__)


def as_float32(tensor: Tensor) -> Tensor:
    """Values of 16 bits and fewer as float32, others as they are."""
    return tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor


def inner(a: Tensor, b: Tensor) -> float:
    """The inner product in float64, without a float64 copy of a whole tensor."""
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces(a, b))


def norm(name: str, tensor: Tensor) -> float:
    """The Euclidean norm in float64; MergeError, by name, where a value is not finite."""
    return norm_of(name, inner(tensor, tensor))


def norm_of(name: str, square: float) -> float:
    """The norm of a tensor by its square; MergeError where that is not finite."""
    value = sqrt(square)
    if not isfinite(value):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return value


# The descent goes on while a family gains this share of its value; the last sweeps take any gain.
_WORTH = 3e-3
_LAST_SWEEPS = 2
# Products of unchanged tensors are kept up to this many numbers (8 bytes each).
_MOST_KEPT = 4_000_000
# Bytes of permuted tensors that are held.
_MOST_HELD = 200_000_000
# Numbers of a matrix that are widened at a time, and columns of it at least.
_BLOCK = 1 << 22
_LEAST_COLUMNS = 512
# Rows of similarities that are widened at a time.
_ROWS = 256
_MOST_SWEEPS = 200


@dataclass(frozen=True)
class _Best:
    """The best step of a family: its indices by group, the similarity then, and what is gained."""

    indices: Mapping[str, np.ndarray]
    value: float
    gain: float


class _Current(Mapping[str, Tensor]):
    """The source under the permutation reached so far, moved when it is read.

    What was moved is kept while there is room; what does not move is the source's tensor itself.
    """

    def __init__(
        self, spec: PermutationSpec, permutation: Permutation, source: Mapping[str, Tensor]
    ) -> None:
        self._spec, self.permutation, self._source = spec, permutation, source
        self._held: dict[str, Tensor] = {}
        self._room = _MOST_HELD

    def __getitem__(self, name: str) -> Tensor:
        if name in self._held:
            return self._held[name]
        source = self._source[name]
        moved = self._spec.apply_to_tensor(self.permutation, name, source)
        if moved is not source and moved.nbytes <= self._room:
            self._held[name] = moved
            self._room -= moved.nbytes
        return moved

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def move(self, step: Permutation, touched: Iterable[str]) -> None:
        """Go on by a step, which moves units in these tensors."""
        self.permutation = self._spec.compose(step, self.permutation)
        for name in self._held.keys() & set(touched):
            self._held[name] = self._spec.apply_to_tensor(step, name, self._held[name])


class Descent:
    """One descent. ``current`` is the source under the permutation reached so far.

    State dicts are read tensor by tensor, as often as similarities need them.

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
        self.spec = spec
        self.target, self.scale = target, scale
        self.current = _Current(spec, begin, source)
        self._device = device_of(target)
        self._precise = torch.float32 if self._device.type == "mps" else torch.float64
        self.extra = {
            g: np.asarray(m, dtype=np.float64)[:, unit_order(spec, g, begin)]
            for g, m in (similarity or {}).items()
        }
        self.where = WeightFamilies(spec, target, self.extra)
        self.kept: dict[UnitView, Tensor] = {}
        # Of families that nothing has changed for since it was computed.
        self._best: dict[GroupFamily, _Best] = {}

    @property
    def permutation(self) -> Permutation:
        """The one reached so far."""
        return self.current.permutation

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
        best = self._best.get(family)
        if best is None:
            step, value, gain = best_step(self.spec, self._similarities(family))
            best = _Best({g: step.indices[g] for g in family}, value, gain)
            self._best[family] = best
        # The similarities are the objective itself while the family stands on one axis only.
        touched, twice = self.where.touched[family], family in self.where.twice
        step = whole(self.spec, best.indices)
        extra = {g: self.extra[g] for g in family if g in self.extra}
        moved = {g: m[:, unit_order(self.spec, g, step)] for g, m in extra.items()}
        most = sum(self.scale.bound[n] for n in touched)
        limit = ROUNDING * (most + sum(float(abs(m).max(axis=1).sum()) for m in extra.values()))
        if best.gain <= max(limit, worth * abs(best.value)):
            return False
        if twice:
            gain = sum(float(np.trace(moved[g] - extra[g])) for g in moved)
            if gain + self._gain(step, touched) <= limit:
                return False
        self.current.move(step, touched)
        self.extra.update(moved)
        for other in self.where.disturbed_by(family):
            self._best.pop(other, None)
        if len(family) == 1 and not twice:  # it is where it is best; nests may gain once more
            self._best[family] = _Best({}, best.value, 0.0)
        self._refresh(family, step)
        return True

    def _gain(self, step: Permutation, names: Iterable[str]) -> float:
        """What a step adds to the scaled inner product of these tensors."""
        gain = 0.0
        for name in names:
            target, current = self.target[name], self.current[name]
            moved = self.spec.apply_to_tensor(step, name, current)
            gain += (inner(target, moved) - inner(target, current)) * self.scale.share[name]
        return gain

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
        """Inner products of target and current units over all their places, summed in float64."""
        count = len(places[0].positions)
        total = torch.zeros(count, count, dtype=self._precise, device=self._device)
        vectors: list[tuple[Tensor, Tensor]] = []
        for place in places:
            if place in self.kept:
                total += self.kept[place]
                continue
            share = self.scale.share[place.tensor]
            a = place.rows(self.target[place.tensor])
            b = place.rows(self.current[place.tensor])
            if a.shape[1] == 1:  # biases and norms: all of them in one product
                vectors.append((as_float32(a) * share, as_float32(b)))
                continue
            keep = sum(t.numel() for t in self.kept.values()) + total.numel() <= _MOST_KEPT
            product = torch.zeros_like(total) if keep else total
            for left, right in _blocks(a, b):
                _add(product, _product(left, right).mul_(share))
            if keep:
                self.kept[place] = product
                total += product
        if vectors:
            left, right = (torch.cat(side, dim=1) for side in zip(*vectors, strict=True))
            _add(total, left @ right.T)
        return total.cpu().numpy()


def _add(total: Tensor, product: Tensor) -> None:
    """Add a matrix to a wider one, which torch would do in a widened copy of it, row by row."""
    for rows, more in zip(total.split(_ROWS), product.split(_ROWS), strict=True):
        rows += more


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Two matrices in blocks of columns, which are few where the matrices have many rows."""
    columns = max(_LEAST_COLUMNS, _BLOCK // max(1, len(a)))
    return zip(a.split(columns, dim=1), b.split(columns, dim=1), strict=True)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows, in float32 or the dtype of the rows if that is wider."""
    exact = a.dtype == b.dtype == torch.bfloat16 and a.device.type == "cpu"
    before = torch.get_float32_matmul_precision()
    if exact:  # products of bfloat16 are exact in float32: units for them give the same, faster
        torch.set_float32_matmul_precision("medium")
    try:
        return torch.mm(as_float32(a), as_float32(b).T)
    finally:
        torch.set_float32_matmul_precision(before)


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

    starts: int = option(1, "the most starts to search from; the best result is taken")
    restarts: str = option(
        "random",
        "where further searches start: at random, or at the best match so far with part of the "
        "units of one family of groups shuffled (Lourenço et al. 2003), every fourth at random",
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
    reads_by_tensor = True

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
    target, source = _compared(problem)
    scale = Scale.of(options.scale, target, source)
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
