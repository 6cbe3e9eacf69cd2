"""Scores of all weighted averages of several networks: the simplex that they span.

Networks that are connected linearly with each other two by two may still not be connected all at
once: their simplex shows it (Sharma et al., arXiv 2404.06498). Three networks span a triangle.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.merging.curve import Barrier, Scores
from zooalign.merging.evaluate import Measure, correct, cross_entropy, evaluate
from zooalign.merging.interpolate import average
from zooalign.merging.statistics import reset_statistics

__all__ = ["Simplex", "simplex"]

State = Mapping[str, Tensor]

_VERSION = 1


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
        found = {"loss": self._excess(self.scores.loss)}
        if self.scores.error is not None:
            found["error"] = self._excess(self.scores.error)
        return found

    @property
    def corners(self) -> tuple[int, ...]:
        """Where each network itself stands among the points."""
        size = len(self.weights[0])
        return tuple(
            self.weights.index(tuple(float(n == k) for k in range(size))) for n in range(size)
        )

    def _excess(self, values: Sequence[float]) -> Barrier:
        ends = [values[index] for index in self.corners]
        planes = [sum(w * e for w, e in zip(own, ends, strict=True)) for own in self.weights]
        over = max(value - plane for value, plane in zip(values, planes, strict=True))
        return Barrier(max(0.0, over), max(values) - sum(ends) / len(ends))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form.

        It has ``version`` (1), ``weights``, ``loss``, ``error``, ``accuracy`` (a number a point, or
        null), ``count``, ``barrier``, ``statistics_reset``.
        """
        scores = self.scores
        return {
            "version": _VERSION,
            "weights": [list(own) for own in self.weights],
            "loss": list(scores.loss),
            "error": None if scores.error is None else list(scores.error),
            "accuracy": None if scores.accuracy is None else list(scores.accuracy),
            "count": scores.count,
            "barrier": {
                name: {"over_line": b.over_line, "over_mean": b.over_mean}
                for name, b in self.barrier.items()
            },
            "statistics_reset": self.statistics_reset,
        }


def simplex(
    module: nn.Module,
    states: Sequence[State],
    data: Iterable[Any],
    *,
    steps: int = 6,
    reset: Iterable[Any] | None = None,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
    progress: Any = None,
) -> Simplex:
    """Score the weighted averages of networks that are in one order already.

    Parameters
    ----------
    module:
        The architecture.
    states:
        Two state dicts or more.
    data:
        Batches to score on, read once a point.
    steps:
        Points along an edge, less one; for three networks there are ``(steps + 1)(steps + 2) / 2``
        points. A multiple of the number of networks has the centre.
    reset:
        Calibration batches: as for :func:`~zooalign.merging.barrier.barrier`.
    progress:
        Called with (points done, points in all).

    Raises
    ------
    DataError
        If the data is empty, has no targets, or can be read once only.
    MergeError
        If there are less than two networks or no step, or a score is not finite.
    """
    if len(states) < 2 or steps < 1:
        raise MergeError(f"a simplex takes two networks and a step: got {len(states)} and {steps}")
    for batches, name in ((data, "data"), (reset, "reset")):
        if batches is not None:
            require_repeatable(batches, name, "at every point")
    weights = tuple(tuple(n / steps for n in own) for own in _compositions(steps, len(states)))
    found = []
    for done, own in enumerate(weights, start=1):
        state: State = average(states, own)
        if reset is not None and max(own) < 1.0:
            state = reset_statistics(module, state, reset)
        score = evaluate(module, state, data, loss=loss, metric=metric)
        if not score.finite:
            raise MergeError(
                f"the score of the average with weights {own} is not finite (loss {score.loss}): "
                "check the networks, and reset running statistics on calibration data"
            )
        found.append(score)
        if progress is not None:
            progress(done, len(weights))
    measured = metric is not None
    scores = Scores(
        loss=tuple(s.loss for s in found),
        error=tuple(s.error or 0.0 for s in found) if measured else None,
        accuracy=tuple(s.accuracy or 0.0 for s in found) if measured else None,
        count=found[0].count,
    )
    return Simplex(weights, scores, reset is not None)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write ``total`` as a sum of so many numbers, zeros included, in order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
