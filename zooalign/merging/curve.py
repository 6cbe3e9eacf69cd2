"""A barrier curve as a value: numbers per alpha, both definitions of the barrier, JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from zooalign.errors import MergeError

__all__ = ["Barrier", "BarrierCurve", "Scores", "excess"]

_VERSION = 1


@dataclass(frozen=True)
class Barrier:
    """The barrier of one quantity, in its units, by the two definitions in use.

    Attributes
    ----------
    over_line:
        Largest excess over the straight line between the endpoints' values (Frankle et al.
        1912.05671; Entezari et al. 2110.06296). Never negative.
    over_mean:
        Largest value minus the mean of the endpoints' values (the scripts of git-re-basin,
        2209.04836). Not zero without a barrier if the endpoints differ.
    """

    over_line: float
    over_mean: float


def excess(alphas: Sequence[float], values: Sequence[float]) -> Barrier:
    """Both barriers of values at alphas that run from 0 to 1; lower values are better."""
    first, last = values[0], values[-1]
    line = [(1.0 - alpha) * first + alpha * last for alpha in alphas]
    over_line = max(value - on_line for value, on_line in zip(values, line, strict=True))
    # The endpoints lie on the line, so the maximum is zero at least, but for rounding.
    return Barrier(max(0.0, over_line), max(values) - (first + last) / 2)


@dataclass(frozen=True)
class Scores:
    """Scores on one data set, one per alpha.

    Attributes
    ----------
    loss:
        Mean loss.
    error:
        One minus the accuracy, or None where no accuracy was measured.
    accuracy:
        Fraction of right predictions, or None.
    count:
        Predictions each score averages over.
    """

    loss: tuple[float, ...]
    error: tuple[float, ...] | None
    accuracy: tuple[float, ...] | None
    count: int


@dataclass(frozen=True)
class BarrierCurve:
    """Scores on the straight line between two networks.

    Attributes
    ----------
    alphas:
        From 0 (the first network) to 1 (the second).
    train:
        Scores on the data the curve was asked for.
    test:
        Scores on the second data set, if one was given.
    statistics_reset:
        Whether normalisation statistics were recomputed strictly between the endpoints.
    corrected:
        Whether another correction (REPAIR) was applied strictly between the endpoints.
    """

    alphas: tuple[float, ...]
    train: Scores
    test: Scores | None = None
    statistics_reset: bool = False
    corrected: bool = False

    @property
    def barrier(self) -> dict[str, Barrier]:
        """Barriers on ``train``: ``loss`` and, where measured, ``error``."""
        return self.barriers(self.train)

    @property
    def test_barrier(self) -> dict[str, Barrier] | None:
        """Barriers on ``test``, or None without it."""
        return None if self.test is None else self.barriers(self.test)

    def barriers(self, scores: Scores) -> dict[str, Barrier]:
        """Barriers of one data set's scores, by the name of the quantity."""
        found = {"loss": excess(self.alphas, scores.loss)}
        if scores.error is not None:
            found["error"] = excess(self.alphas, scores.error)
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form.

        Fields: ``version`` (1); ``alphas``; ``loss``, ``error``, ``accuracy`` (a number per
        alpha, or null), ``count`` and ``barrier`` (``loss`` and ``error``, each with
        ``over_line`` and ``over_mean``) on the data; ``test``, null or the same five fields on
        the second data set; ``statistics_reset``; ``corrected``.
        """
        return {
            "version": _VERSION,
            "alphas": list(self.alphas),
            **self._scores_dict(self.train),
            "test": None if self.test is None else self._scores_dict(self.test),
            "statistics_reset": self.statistics_reset,
            "corrected": self.corrected,
        }

    def _scores_dict(self, scores: Scores) -> dict[str, Any]:
        barriers = self.barriers(scores)
        return {
            "loss": list(scores.loss),
            "error": None if scores.error is None else list(scores.error),
            "accuracy": None if scores.accuracy is None else list(scores.accuracy),
            "count": scores.count,
            "barrier": {
                name: {"over_line": b.over_line, "over_mean": b.over_mean}
                for name, b in barriers.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BarrierCurve":
        """The curve of :meth:`to_dict`; barriers are computed anew from the scores.

        Raises
        ------
        MergeError
            If a field is missing, of another type or length, or not finite.
        """
        if not isinstance(data, Mapping) or data.get("version") != _VERSION:
            version = data.get("version") if isinstance(data, Mapping) else type(data).__name__
            raise MergeError(f"not a barrier curve of version {_VERSION}: found {version!r}.")
        alphas = _numbers(data, "alphas", None)
        check_alphas(alphas)
        test = data.get("test")
        return cls(
            alphas=alphas,
            train=_scores(data, len(alphas)),
            test=None if test is None else _scores(test, len(alphas)),
            statistics_reset=bool(data.get("statistics_reset", False)),
            corrected=bool(data.get("corrected", False)),
        )


def check_alphas(alphas: Sequence[float]) -> None:
    """Require alphas that rise from 0 to 1, both included.

    Raises
    ------
    MergeError
        Otherwise.
    """
    rising = all(x < y for x, y in pairwise(alphas))
    if len(alphas) < 2 or alphas[0] != 0.0 or alphas[-1] != 1.0 or not rising:
        raise MergeError(
            f"alphas must rise from 0 to 1, both included: a barrier is measured against the "
            f"endpoints. Got {list(alphas)[:5]}{'...' if len(alphas) > 5 else ''}."
        )


def _scores(data: Any, length: int) -> Scores:
    if not isinstance(data, Mapping):
        raise MergeError(f"the scores of a barrier curve are an object, not {data!r}.")
    optional = {
        name: None if data.get(name) is None else _numbers(data, name, length)
        for name in ("error", "accuracy")
    }
    count = data.get("count")
    if not isinstance(count, int):
        raise MergeError(f"'count' of a barrier curve is an integer, not {count!r}.")
    return Scores(_numbers(data, "loss", length), optional["error"], optional["accuracy"], count)


def _numbers(data: Mapping[str, Any], name: str, length: int | None) -> tuple[float, ...]:
    values = data.get(name)
    fits = isinstance(values, (list, tuple)) and (length is None or len(values) == length)
    if not fits or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values or ()):
        wanted = "" if length is None else f"{length} "
        raise MergeError(f"'{name}' of a barrier curve is not a list of {wanted}finite numbers.")
    return tuple(float(v) for v in values or ())
