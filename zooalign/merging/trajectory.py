"""Barriers along two trainings, under the permutation of one of their checkpoints or of all.

*Simultaneous weak* connectivity (Sharma et al., arXiv 2404.06498): the permutation of the last
checkpoints aligns two networks at every earlier step too. The question is how early a permutation
already serves at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import State
from zooalign.matching import Match
from zooalign.merging.barrier import curve_between
from zooalign.merging.curve import Barrier, Spread, spreads_of
from zooalign.merging.evaluate import Scoring
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["BARRIERS", "Trajectory", "trajectory", "trajectory_summary"]

Barriers = Mapping[str, Barrier]

# Which permutation, used at which checkpoint.
BARRIERS = ("as_is", "own", "last", "stacked", "at_end")


@dataclass(frozen=True)
class Trajectory:
    """Barriers between two sequences of checkpoints.

    ``barriers`` has for each of :data:`BARRIERS` one mapping (``loss``, ``error``) a checkpoint:
    at the checkpoint ``as_is``, under its ``own`` permutation, under that of the ``last`` one and
    under the one matched on all ``stacked``; and ``at_end``, at the last checkpoint under the
    permutation of this one.
    """

    a: int
    b: int
    barriers: Mapping[str, Sequence[Barriers]]

    def values(self, which: str, quantity: str, definition: str = "over_line") -> list[float]:
        """One number a checkpoint."""
        return [float(getattr(step[quantity], definition)) for step in self.barriers[which]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        barriers: dict[str, Any] = msgspec.to_builtins(self.barriers)
        return {"a": self.a, "b": self.b, **barriers}


def trajectory_summary(
    trajectories: Sequence[Trajectory],
) -> dict[str, list[dict[str, dict[str, Spread]]]]:
    """By permutation, checkpoint, quantity and definition of the barrier: its spread over pairs.

    The trajectories (one at least) are of as many checkpoints, and measured alike.
    """
    return {
        which: [
            spreads_of([one.barriers[which][step] for one in trajectories])
            for step in range(len(steps))
        ]
        for which, steps in trajectories[0].barriers.items()
    }


def trajectory(
    scoring: Scoring,
    spec: PermutationSpec,
    first: Sequence[State],
    second: Sequence[State],
    *,
    pair: Callable[[State, State], Match],
    stacked: Match | None = None,
    alphas: int = 25,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Measure two sequences of checkpoints, ``first[t]`` against ``second[t]``.

    ``pair`` matches two checkpoints; ``stacked`` is the one match of all, if there is one.
    ``alphas`` are the points of a curve; ``progress`` is called with (curves done, curves in all).

    Raises
    ------
    DataError, MergeError
        As for :func:`~zooalign.merging.barrier.curve_between`, and if the sequences differ in
        length or hold less than two checkpoints.
    """
    if len(first) != len(second) or len(first) < 2:
        raise MergeError(
            f"trajectories of {len(first)} and {len(second)} checkpoints cannot be compared: give "
            "two or more of each, taken at the same steps"
        )
    steps = range(len(first))
    permutations = [pair(first[t], second[t]).permutation for t in steps]
    lines = {
        "as_is": [(t, spec.identity()) for t in steps],
        "own": list(enumerate(permutations)),
        "last": [(t, permutations[-1]) for t in steps],
        "stacked": [] if stacked is None else [(t, stacked.permutation) for t in steps],
        "at_end": [(len(first) - 1, permutation) for permutation in permutations],
    }
    total = sum(map(len, lines.values()))
    barriers: dict[str, list[Barriers]] = {which: [] for which in lines}
    every = ((which, t, permutation) for which in lines for t, permutation in lines[which])
    for done, (which, t, permutation) in enumerate(every, start=1):
        permuted = spec.apply(permutation, second[t])
        barriers[which].append(curve_between(scoring, first[t], permuted, alphas=alphas).barrier)
        if progress is not None:
            progress(done, total)
    return Trajectory(0, 1, barriers)
