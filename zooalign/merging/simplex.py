"""Scores of all weighted averages of several networks: the simplex that they span.

Networks that are connected linearly with each other two by two may still not be connected all at
once: their simplex shows it (Sharma et al., arXiv 2404.06498). Three networks span a triangle.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import State
from zooalign.merging.curve import Barrier, Scores
from zooalign.merging.evaluate import Scoring, scores_of
from zooalign.merging.interpolate import average

__all__ = ["Simplex", "simplex"]


@dataclass(frozen=True)
class Simplex:
    """Scores on a grid over the simplex of several networks.

    Attributes
    ----------
    weights:
        One tuple a point: what each network counts, summing to one. The corners are among them.
    scores:
        One a point.
    statistics_reset:
        Whether normalisation statistics were recomputed everywhere but in the corners.
    """

    weights: tuple[tuple[float, ...], ...]
    scores: Scores
    statistics_reset: bool = False

    @property
    def barrier(self) -> dict[str, Barrier]:
        """Barriers of ``loss`` and, where measured, ``error``.

        ``over_line`` is the largest excess over the plane through the corners' values,
        ``over_mean`` the largest value minus the mean of the corners'. For two networks these are
        the two definitions of a curve's barrier.
        """
        return {name: self._excess(values) for name, values in self.scores.quantities.items()}

    @property
    def corners(self) -> tuple[int, ...]:
        """Where each network itself stands among the points."""
        size = len(self.weights[0])
        return tuple(
            self.weights.index(tuple(float(n == k) for k in range(size))) for n in range(size)
        )

    def _excess(self, values: Sequence[float]) -> Barrier:
        ends = [values[index] for index in self.corners]
        planes = [sum(w * e for w, e in zip(point, ends, strict=True)) for point in self.weights]
        over = max(value - plane for value, plane in zip(values, planes, strict=True))
        return Barrier(max(0.0, over), max(values) - sum(ends) / len(ends))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: version 1, a number a point (or null) for each quantity."""
        scores = replace(self.scores, barrier=self.barrier)
        return {
            "version": 1,
            "weights": [list(point) for point in self.weights],
            **msgspec.json.decode(msgspec.json.encode(scores)),
            "statistics_reset": self.statistics_reset,
        }


def simplex(
    scoring: Scoring,
    states: Sequence[State],
    *,
    steps: int = 6,
    progress: Callable[[int, int], None] | None = None,
) -> Simplex:
    """Score the weighted averages of networks that are in one order already.

    ``steps`` are the points along an edge, less one: for three networks there are
    ``(steps + 1)(steps + 2) / 2`` points. A multiple of the number of networks has the centre.
    ``progress`` is called with (points done, points in all).

    Raises
    ------
    DataError
        If the data is empty or has no targets.
    MergeError
        If there are less than two networks or no step, or a score is not finite.
    """
    if len(states) < 2 or steps < 1:
        raise MergeError(f"a simplex takes two networks and a step: got {len(states)} and {steps}")
    points = tuple(tuple(n / steps for n in parts) for parts in _compositions(steps, len(states)))
    scores = []
    for done, weights in enumerate(points, start=1):
        state: State = average(states, weights)
        score = scoring.score(state if max(weights) == 1.0 else scoring.restored(state))
        if not score.finite:
            raise MergeError(
                f"the score of the average with weights {weights} is not finite (loss "
                f"{score.loss}): check the networks, and reset running statistics on calibration "
                "data"
            )
        scores.append(score)
        if progress is not None:
            progress(done, len(points))
    return Simplex(points, scores_of(scores), scoring.reset is not None)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write ``total`` as a sum of so many numbers, zeros included, in order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
