"""Measure the barrier between two networks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.merging.curve import BarrierCurve, Scores, check_alphas
from zooalign.merging.evaluate import Measure, Score, correct, cross_entropy, evaluate
from zooalign.merging.interpolate import interpolate
from zooalign.merging.statistics import reset_statistics

__all__ = ["barrier"]

State = Mapping[str, Tensor]


def barrier(
    module: nn.Module,
    a: State,
    b: State,
    data: Iterable[Any],
    *,
    test: Iterable[Any] | None = None,
    alphas: int | Sequence[float] = 25,
    reset: Iterable[Any] | None = None,
    correction: Callable[[float, State], State] | None = None,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
    progress: Callable[[int, int], None] | None = None,
) -> BarrierCurve:
    """Loss and error on the straight line from ``a`` to ``b`` (already aligned to ``a``).

    Parameters
    ----------
    module:
        The architecture of both; left as it is.
    a, b:
        State dicts of the same names, shapes and dtypes.
    data:
        Batches to score on, read once per alpha: re-iterable. See
        :mod:`zooalign.graph.batches`.
    test:
        A second data set, scored separately.
    alphas:
        How many, evenly spaced from 0 to 1, or the values themselves. An odd number has the
        midpoint.
    reset:
        Calibration batches. If given and the module has running statistics, they are
        recomputed (:func:`~zooalign.merging.statistics.reset_statistics`) at each alpha strictly
        between 0 and 1. The endpoints keep their own, so that a barrier is measured against the
        networks as they were published.
    correction:
        ``correction(alpha, state)`` gives the state dict to score instead, strictly between 0
        and 1 and before statistics are reset; for example REPAIR with weights
        ``(1 - alpha, alpha)``.
    loss, metric:
        See :func:`~zooalign.merging.evaluate.evaluate`.
    progress:
        Called with (alphas done, alphas in all), first with (0, all).

    Raises
    ------
    DataError
        If a data set is empty, has no targets, or can be read once only.
    MergeError
        If the networks do not fit each other or the module, or a score is not finite.
    """
    points = _alphas(alphas)
    for batches, name in ((data, "data"), (test, "test"), (reset, "reset")):
        if batches is not None:
            require_repeatable(batches, name)
    train_scores: list[Score] = []
    test_scores: list[Score] = []
    if progress is not None:
        progress(0, len(points))
    for done, alpha in enumerate(points, start=1):
        state: State = interpolate(a, b, alpha)
        if 0.0 < alpha < 1.0:
            state = state if correction is None else correction(alpha, state)
            state = state if reset is None else reset_statistics(module, state, reset)
        for batches, scores in ((data, train_scores), (test, test_scores)):
            if batches is not None:
                score = evaluate(module, state, batches, loss=loss, metric=metric)
                _require_finite(score, alpha)
                scores.append(score)
        if progress is not None:
            progress(done, len(points))
    return BarrierCurve(
        alphas=points,
        train=_collected(train_scores),
        test=_collected(test_scores) if test is not None else None,
        statistics_reset=reset is not None,
        corrected=correction is not None,
    )


def _alphas(alphas: int | Sequence[float]) -> tuple[float, ...]:
    if isinstance(alphas, int):
        if alphas < 2:
            raise MergeError(f"alphas is {alphas}; two are the least, the endpoints.")
        return tuple(step / (alphas - 1) for step in range(alphas))
    points = tuple(float(alpha) for alpha in alphas)
    check_alphas(points)
    return points


def _collected(scores: Sequence[Score]) -> Scores:
    errors = [s.error for s in scores if s.error is not None]
    accuracies = [s.accuracy for s in scores if s.accuracy is not None]
    return Scores(
        loss=tuple(s.loss for s in scores),
        error=tuple(errors) if errors else None,
        accuracy=tuple(accuracies) if accuracies else None,
        count=scores[0].count,
    )


def _require_finite(score: Score, alpha: float) -> None:
    if score.finite:
        return
    cause = {
        0.0: "The first network itself computes it; check its weights and the data.",
        1.0: "The second network itself computes it; check its weights and the data.",
    }.get(
        alpha,
        "The interpolated network computes it; its activations overflow, or its running variances "
        "do not fit it: reset the statistics on calibration data.",
    )
    raise MergeError(
        f"the score at alpha {alpha:g} is not finite (loss {score.loss}, accuracy "
        f"{score.accuracy}). {cause}"
    )
