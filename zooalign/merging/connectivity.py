"""How a set of networks is connected linearly modulo permutation: weak, composed, strong.

The claims of Sharma et al. (arXiv 2404.06498): *weak*, for every pair there is a permutation
without a barrier; *strong*, one permutation a network connects it with all others at once. Between
them stands composition: the permutation from C to A by way of B. The networks of a set (seeds of
one training) are the sample: every number is reported with its mean and spread over the pairs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import msgspec

from zooalign.graph.lazy_state import State
from zooalign.matching import Match, match
from zooalign.matching.many import METHODS, ManyMatch, match_many, match_stacked
from zooalign.merging.barrier import curve_between
from zooalign.merging.curve import BarrierCurve, Spread, spreads_of
from zooalign.merging.evaluate import Score, Scoring
from zooalign.merging.interpolate import average
from zooalign.merging.simplex import Simplex, simplex
from zooalign.merging.statistics import has_running_statistics
from zooalign.merging.trajectory import Trajectory, trajectory
from zooalign.progress import Progress, silent, stage
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec
from zooalign.text import html_table

__all__ = ["HOWS", "Connected", "Connectivity", "Matching", "PairCurve", "connect"]

Pairs = Mapping[tuple[int, int], Match]

HOWS = ("as_is", "pairwise", "composed", "universe")


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the curve, and its scores at the alpha nearest to one half."""
        curve = self.curve
        middle = min(range(len(curve.alphas)), key=lambda n: abs(curve.alphas[n] - 0.5))
        accuracy = None if curve.accuracy is None else curve.accuracy[middle]
        return {
            "a": self.a,
            "b": self.b,
            "how": self.how,
            "via": self.via,
            "midpoint": {"loss": curve.loss[middle], "accuracy": accuracy},
            **curve.to_dict(),
        }


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

    def of(self, how: str) -> tuple[PairCurve, ...]:
        """The curves of one way to permute."""
        return tuple(pair for pair in self.pairs if pair.how == how)

    def summary(self) -> dict[str, dict[str, dict[str, Spread]]]:
        """By way, quantity and definition of the barrier: its spread over the pairs."""
        curves = {how: [pair.curve.barrier for pair in self.of(how)] for how in HOWS}
        return {how: spreads_of(barriers) for how, barriers in curves.items() if barriers}

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
            "pairs": [pair.to_dict() for pair in self.pairs],
            "cycles": [
                {"networks": list(which), "pairwise_moved": moved, "universe_moved": universe}
                for which, moved, universe in self.cycles
            ],
            "simplex": self.simplex.to_dict(),
            "merged": msgspec.to_builtins(self.merged),
            "statistics_reset": self.statistics_reset,
        }


@dataclass(frozen=True)
class Matching:
    """How networks are matched: two by two, and ``through`` what all at once.

    ``through`` and the number of ``references`` that are tried are those of
    :func:`zooalign.matching.many.match_many`. A method other than the two built-in objectives goes
    to the first network as the reference. ``options`` are the pairwise method's.
    """

    method: str = "activation"
    through: str = "universe"
    references: int = 1
    options: Mapping[str, Any] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Connected:
    """What was measured: of the networks (their last checkpoints), and along their trainings."""

    connectivity: Connectivity
    trajectories: tuple[Trajectory, ...]

    def __repr__(self) -> str:
        measured = self.connectivity
        return f"<Connected: {len(measured.ends)} networks, {len(measured.pairs)} curves>"

    def _repr_html_(self) -> str:
        """For notebooks: the barriers over the pairs, by the way to permute."""
        rows = [
            (
                how.replace("_", " "),
                quantity,
                *(f"{x:.4f}" for x in (s.mean, s.min, s.max)),
                s.count,
            )
            for how, quantities in self.connectivity.summary().items()
            for quantity, definitions in quantities.items()
            for s in (definitions["over_line"],)
        ]
        header = ("permuted", "quantity", "mean barrier", "least", "greatest", "pairs")
        return html_table(repr(self).strip("<>"), header, rows)


def connect(
    scoring: Scoring,
    spec: PermutationSpec,
    networks: Sequence[Sequence[State]],
    *,
    calibration: Iterable[object],
    matching: Matching = Matching(),
    alphas: int = 25,
    steps: int = 6,
    progress: Progress = silent,
) -> Connected:
    """Match networks in all the ways that are compared, and measure them.

    Parameters
    ----------
    scoring:
        Its ``reset`` is used where the architecture has running statistics.
    networks:
        Two networks or more: one sequence of state dicts each, of one length. With two checkpoints
        or more each, trajectories are measured for every pair of networks.
    calibration:
        To match on.
    alphas, steps:
        Points of a curve, and along an edge of the simplex less one.

    Raises
    ------
    DataError, MergeError
        As for :func:`zooalign.matching.match` and :func:`zooalign.merging.barrier`.
    """
    if not has_running_statistics(scoring.module):
        scoring = replace(scoring, reset=None)
    common: dict[str, Any] = {"data": calibration, "module": scoring.module, "seed": matching.seed}

    def pair(target: State, source: State) -> Match:
        return match(
            spec, target, source, method=matching.method, **common, **(matching.options or {})
        )

    last = [checkpoints[-1] for checkpoints in networks]
    pairs = list(combinations(range(len(networks)), 2))
    pairwise = {}
    for done, (i, j) in enumerate(pairs):
        progress("pairs", done, len(pairs))
        pairwise[i, j] = pair(last[i], last[j])
    progress("all at once", 0, 0)
    many = _many(spec, last, pairwise, matching, common)
    curves = []
    lines = list(_permutations(spec, len(networks), many, pairwise))
    for done, (i, j, how, via, permutation) in enumerate(lines):
        progress("barriers", done, len(lines))
        permuted = spec.apply(permutation, last[j])
        curve = curve_between(scoring, last[i], permuted, alphas=alphas)
        curves.append(PairCurve(i, j, how, via, curve))
    ordered = [spec.apply(p, s) for p, s in zip(many.permutations, last, strict=True)]
    measured = Connectivity(
        ends=tuple(scoring.score(state) for state in last),
        many=many,
        pairs=tuple(curves),
        cycles=tuple(_cycles(spec, len(networks), many, pairwise)),
        simplex=simplex(scoring, ordered[:3], steps=steps, progress=stage(progress, "simplex")),
        merged=scoring.score(scoring.restored(average(ordered))),
        statistics_reset=scoring.reset is not None,
    )
    trajectories = []
    for i, j in pairs if len(networks[0]) > 1 else ():
        ends = networks[i], networks[j]
        stacked = None
        if matching.method in METHODS:
            stacked = match_stacked(spec, *ends, method=matching.method, **common)
        report = stage(progress, f"trajectory {i + 1}-{j + 1}")
        one = trajectory(
            scoring, spec, *ends, pair=pair, stacked=stacked, alphas=alphas, progress=report
        )
        trajectories.append(replace(one, a=i, b=j))
    return Connected(measured, tuple(trajectories))


def _many(
    spec: PermutationSpec,
    states: Sequence[State],
    pairwise: Pairs,
    matching: Matching,
    common: Mapping[str, Any],
) -> ManyMatch:
    if matching.method in METHODS:
        return match_many(
            spec,
            states,
            method=matching.method,
            through=matching.through,
            references=range(min(max(1, matching.references), len(states))),
            **common,
        )
    first = [pairwise[0, n] for n in range(1, len(states))]
    return ManyMatch(
        (spec.identity(), *(one.permutation for one in first)),
        matching.method,
        "reference",
        0,
        sum(one.objective_before for one in first) / len(first),
        sum(one.objective_after for one in first) / len(first),
    )


def _permutations(
    spec: PermutationSpec, count: int, many: ManyMatch, pairwise: Pairs
) -> Iterator[tuple[int, int, str, int | None, Permutation]]:
    for i, j in combinations(range(count), 2):
        yield i, j, "as_is", None, spec.identity()
        yield i, j, "pairwise", None, pairwise[i, j].permutation
        if count > 2:
            via = next(k % count for k in range(j + 1, j + count) if k % count not in (i, j))
            there, back = _to(spec, pairwise, i, via), _to(spec, pairwise, via, j)
            yield i, j, "composed", via, spec.compose(there, back)
        yield i, j, "universe", None, many.between(spec, i, j)


def _to(spec: PermutationSpec, pairwise: Pairs, i: int, j: int) -> Permutation:
    """What reorders j's units to match i's, whichever of the two was matched to the other."""
    if i < j:
        return pairwise[i, j].permutation
    return spec.invert(pairwise[j, i].permutation)


def _cycles(
    spec: PermutationSpec, count: int, many: ManyMatch, pairwise: Pairs
) -> Iterator[tuple[tuple[int, int, int], float, float]]:
    for i, j, k in combinations(range(count), 3):
        around = spec.identity()
        universe = spec.identity()
        for a, b in ((i, j), (j, k), (k, i)):
            around = spec.compose(around, _to(spec, pairwise, a, b))
            universe = spec.compose(universe, many.between(spec, a, b))
        yield (i, j, k), around.moved_fraction, universe.moved_fraction
