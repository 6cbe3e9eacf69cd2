"""A barrier curve as a value: numbers per alpha, both definitions of the barrier, JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

import msgspec

from zooalign.errors import MergeError
from zooalign.merging.drawing import figure_of
from zooalign.text import html_table

__all__ = [
    "Barrier",
    "BarrierCurve",
    "CurveFields",
    "Scores",
    "Spread",
    "excess",
    "spread_of",
    "spreads_of",
]

Numbers = tuple[float, ...]


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
    std = math.sqrt(square / (len(values) - 1)) if len(values) > 1 else 0.0
    return Spread(mean, std, min(values), max(values), len(values))


def spreads_of(barriers: Sequence[Mapping[str, Barrier]]) -> dict[str, dict[str, Spread]]:
    """By quantity and definition: the spread of barriers that were measured alike."""
    return {
        quantity: {
            name: spread_of([getattr(one[quantity], name) for one in barriers])
            for name in ("over_line", "over_mean")
        }
        for quantity in barriers[0]
    }


@dataclass(frozen=True)
class Scores:
    """Scores on one data set, one per point.

    Attributes
    ----------
    loss:
        Mean loss.
    error:
        One minus the accuracy, or a metric that is better when lower; None where neither was
        measured.
    accuracy:
        Fraction of right predictions or another share that is better when higher, or None.
    count:
        Predictions each score averages over.
    measures:
        Names of the loss, and of the metric if there is one; none in files of earlier versions.
    barrier:
        Barriers of ``loss`` and, where measured, ``error``: whatever is given, the curve that
        holds the scores computes them.
    """

    loss: Numbers
    error: Numbers | None
    accuracy: Numbers | None
    count: int
    measures: tuple[str, ...] = ()
    barrier: dict[str, Barrier] = field(default_factory=dict, compare=False)

    @property
    def quantities(self) -> dict[str, Numbers]:
        """The quantities that have a barrier: ``loss`` and, where measured, ``error``."""
        return (
            {"loss": self.loss} if self.error is None else {"loss": self.loss, "error": self.error}
        )

    def barriers(self, alphas: Sequence[float]) -> dict[str, Barrier]:
        """Barriers of the scores at alphas, by the name of the quantity."""
        return {name: excess(alphas, values) for name, values in self.quantities.items()}


@dataclass(frozen=True, kw_only=True)
class _Line:
    version: Literal[1]
    alphas: Numbers


@dataclass(frozen=True, kw_only=True)
class CurveFields(Scores, _Line):
    """The fields of a curve, as of its JSON; :class:`BarrierCurve` has what they mean."""

    test: Scores | None = None
    statistics_reset: bool = False
    corrected: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class BarrierCurve(CurveFields):
    """Scores on the straight line between two networks: as a JSON object these very fields.

    Attributes
    ----------
    version:
        Of the JSON form: 1.
    alphas:
        From 0 (the first network) to 1 (the second).
    loss, error, accuracy, count, barrier:
        :class:`Scores` on the data the curve was asked for.
    test:
        Scores on the second data set, if one was given.
    statistics_reset:
        Whether normalisation statistics were recomputed strictly between the endpoints.
    corrected:
        Whether another correction (REPAIR) was applied strictly between the endpoints.
    """

    def __post_init__(self) -> None:
        check_alphas(self.alphas)
        for scores in (self, self.test) if self.test else (self,):
            _check_scores(scores, len(self.alphas))
        object.__setattr__(self, "barrier", self.barriers(self.alphas))
        if self.test is not None:
            test = replace(self.test, barrier=self.test.barriers(self.alphas))
            object.__setattr__(self, "test", test)

    @classmethod
    def of(cls, alphas: Sequence[float], train: Scores, test: Scores | None = None) -> Self:
        """The curve of scores on one data set or two."""
        return cls(version=1, alphas=tuple(alphas), test=test, **vars(train))

    def __repr__(self) -> str:
        each = ", ".join(
            f"{self.names[name]} {barrier.over_line:.4f}" for name, barrier in self.barrier.items()
        )
        return (
            f"<{type(self).__name__} at {len(self.alphas)} alphas, barrier over the line: {each}>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the points, with the barriers in the caption."""
        header = ["alpha", *(self.names[name] for name in self.quantities)]
        columns = [self.alphas, *self.quantities.values()]
        rows = [[f"{value:.4f}" for value in row] for row in zip(*columns, strict=True)]
        return html_table(repr(self).strip("<>"), header, rows)

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve with matplotlib.

        Parameters
        ----------
        ax:
            Axes to draw the loss on; by default a new figure with panels for loss and error.

        Returns
        -------
        The ``matplotlib.figure.Figure``, which notebooks show.

        Raises
        ------
        MergeError
            If matplotlib is not installed.
        """
        return figure_of({"": self}, ax)

    @property
    def train(self) -> Scores:
        """Scores on the data the curve was asked for."""
        return Scores(self.loss, self.error, self.accuracy, self.count, self.measures, self.barrier)

    @property
    def names(self) -> dict[str, str]:
        """What loss and error are, for people: ``loss (mse)``, ``error (1 - accuracy)``."""
        return named_quantities(self.measures, self.accuracy is not None)

    @property
    def test_barrier(self) -> dict[str, Barrier] | None:
        """Barriers on ``test``, or None without it."""
        return None if self.test is None else self.test.barrier

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: the fields, tuples as lists."""
        content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return content

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The curve of :meth:`to_dict`; barriers are computed anew from the scores.

        Raises
        ------
        MergeError
            If a field is missing, of another type or length, or not finite.
        """
        try:
            return msgspec.convert(data, cls)
        except (msgspec.ValidationError, TypeError) as error:
            raise MergeError(f"not a barrier curve of version 1: {error}") from error


def named_quantities(measures: Sequence[str], is_share: bool) -> dict[str, str]:
    """Loss and error with the names of their measures; ``is_share``: of accuracies."""
    loss, metric = (*measures, "", "")[:2]
    if metric and is_share:
        metric = f"1 - {metric}"
    return {
        "loss": f"loss ({loss})" if loss else "loss",
        "error": f"error ({metric})" if metric else "error",
    }


def check_alphas(alphas: Sequence[float]) -> None:
    """Raise :class:`MergeError` unless alphas rise from 0 to 1, both included."""
    rising = all(x < y for x, y in pairwise(alphas))
    if len(alphas) < 2 or alphas[0] != 0.0 or alphas[-1] != 1.0 or not rising:
        raise MergeError(
            f"alphas must rise from 0 to 1, both included: a barrier is measured against the "
            f"endpoints. Got {list(alphas)[:5]}{'...' if len(alphas) > 5 else ''}."
        )


def _check_scores(scores: Scores, length: int) -> None:
    for name in ("loss", "error", "accuracy"):
        values = getattr(scores, name)
        if values is not None and not (len(values) == length and all(map(math.isfinite, values))):
            raise MergeError(
                f"'{name}' of a barrier curve is not a list of {length} finite numbers."
            )
