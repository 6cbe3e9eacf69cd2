"""Measure the barrier between two networks."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.lazy_state import State
from zooalign.keywords import settings_of
from zooalign.merging.curve import BarrierCurve, check_alphas
from zooalign.merging.evaluate import Score, Scoring, scores_of
from zooalign.merging.interpolate import interpolate

__all__ = ["barrier", "curve_between", "warn_of_poor_ends"]

# Of a loss: what rounding and the choice of batches explain.
POOR_LOSS = 0.02
StateCorrection = Callable[[float, State], State]
Ends = tuple[nn.Module, nn.Module]


def barrier(
    module: nn.Module,
    a: State,
    b: State,
    data: Iterable[object],
    *,
    alphas: int | Sequence[float] = 25,
    correction: StateCorrection | None = None,
    progress: Callable[[int, int], None] | None = None,
    **scoring: Any,
) -> BarrierCurve:
    """Loss and error on the straight line from ``a`` to ``b`` (already aligned to ``a``).

    Parameters
    ----------
    module, data:
        The architecture and the batches to score on: fields of
        :class:`~zooalign.merging.evaluate.Scoring`, as are ``scoring``: ``test``, ``reset``,
        ``loss`` and ``metric``.
    a, b:
        State dicts of the same names, shapes and dtypes.
    alphas:
        How many, evenly spaced from 0 to 1, or the values themselves. An odd number has the
        midpoint.
    correction:
        ``correction(alpha, state)`` gives the state dict to score instead, strictly between 0
        and 1 and before statistics are reset; for example REPAIR with weights
        ``(1 - alpha, alpha)``.
    progress:
        Called with (alphas done, alphas in all), first with (0, all).

    Raises
    ------
    DataError
        If a data set is empty, has no targets, or can be read once only.
    MergeError
        If the networks do not fit each other or the module, or a score is not finite.
    """
    scored = settings_of(Scoring, scoring, "barrier", module=module, data=data)
    return curve_between(scored, a, b, alphas=alphas, correction=correction, progress=progress)


def curve_between(
    scoring: Scoring,
    a: State,
    b: State,
    *,
    alphas: int | Sequence[float] = 25,
    correction: StateCorrection | None = None,
    progress: Callable[[int, int], None] | None = None,
    ends: Ends | None = None,
) -> BarrierCurve:
    """:func:`barrier` of networks that are scored as ``scoring`` says.

    ``ends`` are the modules of the networks themselves, where their configurations differ: each is
    scored in its own, and what lies between in that of ``scoring``.
    """
    points = _alphas(alphas)
    report = progress or (lambda done, total: None)
    train: list[Score] = []
    test: list[Score] = []
    report(0, len(points))
    for done, alpha in enumerate(points, start=1):
        state: State = interpolate(a, b, alpha)
        if 0.0 < alpha < 1.0:
            state = state if correction is None else correction(alpha, state)
            state = scoring.restored(state)
        at = scoring if ends is None else scoring.of(ends, alpha)
        for score, scores in ((at.score(state), train), (at.test_score(state), test)):
            if score is not None:
                _require_finite(score, alpha)
                scores.append(score)
        report(done, len(points))
    curve = BarrierCurve.of(points, scores_of(train), scores_of(test) if test else None)
    return replace(
        curve, statistics_reset=scoring.reset is not None, corrected=correction is not None
    )


def warn_of_poor_ends(
    scoring: Scoring, a: State, b: State, curve: BarrierCurve, *, ends: Ends | None = None
) -> None:
    """Warn where a network works better with running statistics that are recomputed.

    The ends of a curve keep their own statistics, as they were published; those between are reset.
    Ends that are worse for it hide the barrier. ``ends`` is as for :func:`curve_between`.

    Warns
    -----
    ZooalignWarning
        If an end's loss falls by more than a tenth of it and than :data:`POOR_LOSS`.
    """
    if scoring.reset is None:
        return
    networks = (("first", 0.0, a, curve.loss[0]), ("second", 1.0, b, curve.loss[-1]))
    for name, alpha, state, own in networks:
        at = scoring if ends is None else scoring.of(ends, alpha)
        reset = at.score(at.restored(state)).loss
        if own - reset > max(POOR_LOSS, 0.1 * abs(own)):
            warnings.warn(
                f"the {name} network's own running statistics fit this data badly: loss {own:.4g} "
                f"with them, {reset:.4g} with recomputed ones. The ends of the curve keep their "
                "own and the points between do not, so the barrier is understated; recompute them "
                "first (zooalign.merging.reset_statistics)",
                ZooalignWarning,
                stacklevel=3,
            )


def _alphas(alphas: int | Sequence[float]) -> tuple[float, ...]:
    if isinstance(alphas, int):
        if alphas < 2:
            raise MergeError(f"alphas is {alphas}; give 2 or more, for the endpoints.")
        return tuple(step / (alphas - 1) for step in range(alphas))
    points = tuple(float(alpha) for alpha in alphas)
    check_alphas(points)
    return points


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
