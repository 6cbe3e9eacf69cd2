"""Match a set of networks in all the ways that connectivity compares, and measure them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor, nn

from zooalign.matching import Match, match
from zooalign.matching.many import METHODS, ManyMatch, match_many, match_stacked
from zooalign.merging.connectivity import Connectivity, connectivity
from zooalign.merging.evaluate import Measure, correct, cross_entropy
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
        How all are brought in one order; see :func:`zooalign.matching.many.match_many`. A method
        other than the two built-in objectives goes to the first network as the reference.
    references:
        How many networks are tried as the reference.
    options:
        Passed to the pairwise method.
    """

    method: str = "activation"
    through: str = "universe"
    references: int = 1
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Connected:
    """What was measured: of the networks (their last checkpoints), and along their trainings."""

    connectivity: Connectivity
    trajectories: tuple[Trajectory, ...]


def connect(
    module: nn.Module,
    spec: PermutationSpec,
    networks: Sequence[Sequence[State]],
    data: Iterable[Any],
    *,
    calibration: Iterable[Any],
    reset: Iterable[Any] | None,
    matching: Matching,
    alphas: int = 25,
    steps: int = 6,
    seed: int = 0,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
    progress: Progress = silent,
) -> Connected:
    """Match and measure.

    Parameters
    ----------
    networks:
        One sequence of state dicts a network, of one length; with two checkpoints or more each,
        trajectories are measured for every pair of networks.
    data:
        To score on.
    calibration:
        To match on.
    reset:
        To recompute running statistics on, where there are any.

    Raises
    ------
    DataError, MergeError
        As for :func:`zooalign.matching.match` and :func:`zooalign.merging.barrier`.
    """

    def pair(target: State, source: State) -> Match:
        return match(
            spec,
            target,
            source,
            method=matching.method,
            data=calibration,
            module=module,
            seed=seed,
            **(matching.options or {}),
        )

    last = [own[-1] for own in networks]
    pairwise = {}
    pairs = list(combinations(range(len(networks)), 2))
    for done, (i, j) in enumerate(pairs):
        progress("pairs", done, len(pairs))
        pairwise[i, j] = pair(last[i], last[j])
    progress("all at once", 0, 0)
    many = _many(module, spec, last, pairwise, calibration, matching, seed)
    measured = connectivity(
        module, spec, last, data, many=many, pairwise=pairwise, reset=reset, alphas=alphas,
        steps=steps, loss=loss, metric=metric, progress=progress,
    )  # fmt: skip
    found = []
    if len(networks[0]) > 1:
        for i, j in pairs:
            stacked = None
            if matching.method in METHODS:
                stacked = match_stacked(
                    spec, networks[i], networks[j], method=matching.method, module=module,
                    data=calibration, seed=seed,
                )  # fmt: skip
            found.append(
                trajectory(
                    module,
                    spec,
                    networks[i],
                    networks[j],
                    data,
                    own=pair,
                    stacked=stacked,
                    ends=(i, j),
                    reset=reset,
                    alphas=alphas,
                    loss=loss,
                    metric=metric,
                    progress=stage(progress, f"trajectory {i + 1}-{j + 1}"),
                )
            )
    return Connected(measured, tuple(found))


def _many(
    module: nn.Module,
    spec: PermutationSpec,
    states: Sequence[State],
    pairwise: Mapping[tuple[int, int], Match],
    data: Iterable[Any],
    matching: Matching,
    seed: int,
) -> ManyMatch:
    if matching.method in METHODS:
        return match_many(
            spec,
            states,
            method=matching.method,
            through=matching.through,
            references=range(min(max(1, matching.references), len(states))),
            data=data,
            module=module,
            seed=seed,
        )
    first = [pairwise[0, n] for n in range(1, len(states))]
    return ManyMatch(
        (spec.identity(), *(found.permutation for found in first)),
        matching.method,
        "reference",
        0,
        sum(found.objective_before for found in first) / len(first),
        sum(found.objective_after for found in first) / len(first),
    )
