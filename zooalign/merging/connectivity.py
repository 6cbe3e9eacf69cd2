"""How a set of networks is connected linearly modulo permutation: weak, composed, strong.

The claims of Sharma et al. (arXiv 2404.06498): *weak*, for every pair there is a permutation
without a barrier; *strong*, one permutation a network connects it with all others at once. Between
them stands composition: the permutation from C to A by way of B. The networks of a set (seeds of
one training) are the sample: every number is reported with its mean and spread over the pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import sqrt
from typing import Any

import msgspec
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching import Match
from zooalign.matching.many import ManyMatch
from zooalign.merging.barrier import curve_between
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.evaluate import Score, Scoring
from zooalign.merging.interpolate import average
from zooalign.merging.simplex import Simplex, simplex
from zooalign.progress import Progress, silent, stage
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["HOWS", "Connectivity", "PairCurve", "Spread", "connectivity", "spread_of"]

State = Mapping[str, Tensor]

HOWS = ("as_is", "pairwise", "composed", "universe")


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (of a sample; 0 for one value), least and greatest of values."""

    mean: float
    std: float
    min: float
    max: float
    count: int


def spread_of(values: Sequence[float]) -> Spread:
    """The spread of values, of which there is one at least."""
    mean = sum(values) / len(values)
    square = sum((v - mean) ** 2 for v in values)
    std = sqrt(square / (len(values) - 1)) if len(values) > 1 else 0.0
    return Spread(mean, std, min(values), max(values), len(values))


@dataclass(frozen=True)
class PairCurve:
    """The line from network ``a`` to ``b``, permuted as ``how`` says (see :data:`HOWS`).

    ``via`` is the network that a composed permutation goes by.
    """

    a: int
    b: int
    how: str
    via: int | None
    curve: BarrierCurve

    @property
    def midpoint(self) -> int:
        """The place of the alpha nearest to one half."""
        alphas = self.curve.alphas
        return min(range(len(alphas)), key=lambda n: abs(alphas[n] - 0.5))


@dataclass(frozen=True)
class Connectivity:
    """What was measured of a set of networks.

    Attributes
    ----------
    ends:
        The score of every network.
    many:
        One permutation a network.
    pairs:
        A curve for each pair and each of :data:`HOWS` (``composed`` from three networks on).
    cycles:
        For each three networks, the share of units that the pairwise permutations composed around
        the three move, and that those of the universe move (0).
    simplex:
        Of the first three networks (two, if there are no more) in the universe's order.
    merged:
        The score of the average of all networks in the universe's order.
    statistics_reset:
        Whether running statistics were recomputed between the networks.
    """

    ends: tuple[Score, ...]
    many: ManyMatch
    pairs: tuple[PairCurve, ...]
    cycles: tuple[tuple[tuple[int, int, int], float, float], ...]
    simplex: Simplex
    merged: Score
    statistics_reset: bool
    objectives: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def of(self, how: str) -> tuple[PairCurve, ...]:
        """The curves of one way to permute."""
        return tuple(pair for pair in self.pairs if pair.how == how)

    def summary(self) -> dict[str, dict[str, dict[str, Spread]]]:
        """By way, quantity and definition of the barrier: its spread over the pairs."""
        summary: dict[str, dict[str, dict[str, Spread]]] = {}
        for how in HOWS:
            curves = [pair.curve.barrier for pair in self.of(how)]
            if curves:
                summary[how] = {
                    quantity: {
                        name: spread_of([getattr(c[quantity], name) for c in curves])
                        for name in ("over_line", "over_mean")
                    }
                    for quantity in curves[0]
                }
        return summary

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the fields are those of ``docs/cli.md``."""
        return {
            "ends": msgspec.to_builtins(self.ends),
            "objective": {
                "before": self.many.objective_before,
                "after": self.many.objective_after,
                "reference": self.many.reference,
            },
            "summary": msgspec.to_builtins(self.summary()),
            "pairs": [self._pair(pair) for pair in self.pairs],
            "cycles": [
                {"networks": list(which), "pairwise_moved": moved, "universe_moved": universe}
                for which, moved, universe in self.cycles
            ],
            "simplex": self.simplex.to_dict(),
            "merged": msgspec.to_builtins(self.merged),
            "statistics_reset": self.statistics_reset,
        }

    def _pair(self, pair: PairCurve) -> dict[str, Any]:
        scores, middle = pair.curve, pair.midpoint
        return {
            "a": pair.a,
            "b": pair.b,
            "how": pair.how,
            "via": pair.via,
            "midpoint": {
                "loss": scores.loss[middle],
                "accuracy": None if scores.accuracy is None else scores.accuracy[middle],
            },
            **pair.curve.to_dict(),
        }


def connectivity(
    scoring: Scoring,
    spec: PermutationSpec,
    states: Sequence[State],
    *,
    many: ManyMatch,
    pairwise: Mapping[tuple[int, int], Match],
    alphas: int = 25,
    steps: int = 6,
    progress: Progress = silent,
) -> Connectivity:
    """Measure a set of networks whose permutations were found.

    Parameters
    ----------
    scoring:
        The architecture, the data, and how it is scored.
    states:
        Two networks or more, as they are.
    many:
        One permutation a network.
    pairwise:
        For every pair i < j the match that reorders j's units to match i's.
    alphas, steps:
        Points of a curve, and along an edge of the simplex less one.

    Raises
    ------
    DataError, MergeError
        As for :func:`~zooalign.merging.barrier.curve_between`.
    """
    if len(states) < 2:
        raise MergeError(f"connectivity is of two networks or more: got {len(states)}")
    lines = list(_permutations(spec, len(states), many, pairwise))
    pairs = []
    for done, (i, j, how, via, permutation) in enumerate(lines):
        progress("barriers", done, len(lines))
        permuted = spec.apply(permutation, states[j])
        curve = curve_between(scoring, states[i], permuted, alphas=alphas)
        pairs.append(PairCurve(i, j, how, via, curve))
    ordered = [spec.apply(p, s) for p, s in zip(many.permutations, states, strict=True)]
    return Connectivity(
        ends=tuple(scoring.score(state) for state in states),
        many=many,
        pairs=tuple(pairs),
        cycles=tuple(_cycles(spec, len(states), many, pairwise)),
        simplex=simplex(scoring, ordered[:3], steps=steps, progress=stage(progress, "simplex")),
        merged=scoring.score(scoring.restored(average(ordered))),
        statistics_reset=scoring.reset is not None,
        objectives={k: (m.objective_before, m.objective_after) for k, m in pairwise.items()},
    )


def _permutations(
    spec: PermutationSpec,
    count: int,
    many: ManyMatch,
    pairwise: Mapping[tuple[int, int], Match],
) -> Iterable[tuple[int, int, str, int | None, Permutation]]:
    for i, j in combinations(range(count), 2):
        yield i, j, "as_is", None, spec.identity()
        yield i, j, "pairwise", None, pairwise[i, j].permutation
        if count > 2:
            via = next(k % count for k in range(j + 1, j + count) if k % count not in (i, j))
            there, back = _to(spec, pairwise, i, via), _to(spec, pairwise, via, j)
            yield i, j, "composed", via, spec.compose(there, back)
        yield i, j, "universe", None, many.between(spec, i, j)


def _to(
    spec: PermutationSpec, pairwise: Mapping[tuple[int, int], Match], i: int, j: int
) -> Permutation:
    """What reorders j's units to match i's, whichever of the two was matched to the other."""
    if i < j:
        return pairwise[i, j].permutation
    return spec.invert(pairwise[j, i].permutation)


def _cycles(
    spec: PermutationSpec,
    count: int,
    many: ManyMatch,
    pairwise: Mapping[tuple[int, int], Match],
) -> Iterable[tuple[tuple[int, int, int], float, float]]:
    for i, j, k in combinations(range(count), 3):
        around = spec.identity()
        universe = spec.identity()
        for a, b in ((i, j), (j, k), (k, i)):
            around = spec.compose(around, _to(spec, pairwise, a, b))
            universe = spec.compose(universe, many.between(spec, a, b))
        yield (i, j, k), around.moved_fraction, universe.moved_fraction
