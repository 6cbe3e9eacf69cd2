"""Match a set of networks in all the ways that connectivity compares, and measure them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from torch import Tensor

from zooalign.matching import Match, match
from zooalign.matching.many import METHODS, ManyMatch, match_many, match_stacked
from zooalign.merging.connectivity import Connectivity, connectivity
from zooalign.merging.evaluate import Scoring
from zooalign.merging.statistics import has_running_statistics
from zooalign.merging.trajectory import Trajectory, trajectory
from zooalign.progress import Progress, silent, stage
from zooalign.symmetry import PermutationSpec

__all__ = ["Connected", "Matching", "connect"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Matching:
    """How networks are matched.

    Attributes
    ----------
    method:
        ``activation``, ``weight`` or a plugin's.
    through:
        How all are reordered to match each other; see :func:`zooalign.matching.many.match_many`.
        A method other than the two built-in objectives goes to the first network as the reference.
    references:
        How many networks are tried as the reference.
    options:
        Passed to the pairwise method.
    seed:
        For methods that draw random numbers.
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


def connect(
    scoring: Scoring,
    spec: PermutationSpec,
    networks: Sequence[Sequence[State]],
    *,
    calibration: Iterable[Any],
    matching: Matching = Matching(),
    alphas: int = 25,
    steps: int = 6,
    progress: Progress = silent,
) -> Connected:
    """Match and measure.

    Parameters
    ----------
    scoring:
        The architecture, the data, and how it is scored. Its ``reset`` is used where the
        architecture has running statistics.
    networks:
        One sequence of state dicts a network, of one length; with two checkpoints or more each,
        trajectories are measured for every pair of networks.
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
    measured = connectivity(
        scoring,
        spec,
        last,
        many=many,
        pairwise=pairwise,
        alphas=alphas,
        steps=steps,
        progress=progress,
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
    pairwise: Mapping[tuple[int, int], Match],
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
