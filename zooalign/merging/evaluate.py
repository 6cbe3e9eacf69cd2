"""Loss and error of a module on a state dict."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.graph.batches import read_batches, require_repeatable
from zooalign.graph.module_runner import Runner
from zooalign.merging.curve import Scores
from zooalign.merging.statistics import reset_statistics

__all__ = ["Measure", "Score", "Scoring", "correct", "cross_entropy", "evaluate", "scores_of"]

Measure = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Score:
    """Averages over a data set.

    Attributes
    ----------
    loss:
        Mean loss.
    error:
        One minus the accuracy; None without a metric.
    accuracy:
        Mean of the metric; None without a metric.
    count:
        Number of predictions measured.
    """

    loss: float
    error: float | None
    accuracy: float | None
    count: int

    @property
    def finite(self) -> bool:
        """Whether every value is a finite number."""
        return all(math.isfinite(v) for v in (self.loss, self.accuracy) if v is not None)


def cross_entropy(outputs: object, targets: Tensor) -> Tensor:
    """Cross-entropy of each prediction; classes on axis 1 of the logits, as in torch."""
    return F.cross_entropy(_logits(outputs).float(), targets, reduction="none")


def correct(outputs: object, targets: Tensor) -> Tensor:
    """Whether the largest logit (axis 1) is the target, for each prediction."""
    return _logits(outputs).argmax(1) == targets


def evaluate(
    module: nn.Module,
    state: Mapping[str, Tensor],
    batches: Iterable[object],
    *,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
) -> Score:
    """Score a module with the tensors of a state dict, in eval mode.

    Parameters
    ----------
    module:
        The architecture; its values are not read (it may be on the meta device, but for
        buffers outside of the state dict) and nothing of it is changed.
    state:
        Tensors by state-dict name. They decide the device; batches are moved to it, and
        floating-point inputs are cast to the parameters' dtype if they share one.
    batches:
        Pairs (inputs, targets); see :mod:`zooalign.graph.batches`.
    loss:
        ``loss(outputs, targets)``: one value per prediction, or the batch's mean as a scalar.
    metric:
        ``metric(outputs, targets)``: one value in [0, 1] (or a boolean) per prediction, averaged
        to the accuracy; None to measure the loss alone.

    Returns
    -------
    Averages over all predictions, summed in float64. They may be NaN or infinite.

    Raises
    ------
    DataError
        If there is no batch, or one without targets.
    MergeError
        If the state dict does not fit the module.
    """
    run = Runner.of(module, state)
    total_loss, total_right, losses, predictions = 0.0, 0.0, 0, 0
    for index, batch in enumerate(read_batches(batches)):
        if batch.targets is None:
            raise DataError(
                f"batch {index} has no targets, and a loss needs them: give pairs "
                "(inputs, targets)."
            )
        outputs = run(batch)
        targets = batch.to(run.device).targets
        values = loss(outputs, targets).detach().cpu().double()
        right = None if metric is None else metric(outputs, targets).detach().cpu().double()
        if right is not None:
            total_right += float(right.sum())
            predictions += right.numel()
        size = values.numel() if values.ndim else _size(right, targets)
        total_loss += float(values.sum()) * (1 if values.ndim else size)
        losses += size
    if not losses:
        raise DataError("the data holds batches but no example in them.")
    return Score(
        loss=total_loss / losses,
        error=(predictions - total_right) / predictions if predictions else None,
        accuracy=total_right / predictions if predictions else None,
        count=predictions or losses,
    )


@dataclass(frozen=True, eq=False)
class Scoring:
    """How the networks of one architecture, and averages of them, are scored.

    Attributes
    ----------
    module:
        The architecture; left as it is.
    data, test:
        Batches to score on, and a second data set that is scored separately. They are read once
        for every network.
    reset:
        Calibration batches. Where they are given and the module has running statistics, those of
        averages are recomputed (:func:`~zooalign.merging.statistics.reset_statistics`). The
        networks themselves keep their own, so that they are scored as they were published.
    loss, metric:
        See :func:`evaluate`.
    """

    module: nn.Module
    data: Iterable[object]
    test: Iterable[object] | None = None
    reset: Iterable[object] | None = None
    loss: Measure = cross_entropy
    metric: Measure | None = correct

    def __post_init__(self) -> None:
        for name in ("data", "test", "reset"):
            if getattr(self, name) is not None:
                require_repeatable(getattr(self, name), name, "at every point")

    def restored(self, average: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """An average with its running statistics recomputed, where they are to be."""
        return average if self.reset is None else reset_statistics(self.module, average, self.reset)

    def score(self, state: Mapping[str, Tensor]) -> Score:
        """The score of a state dict on ``data``."""
        return evaluate(self.module, state, self.data, loss=self.loss, metric=self.metric)

    def test_score(self, state: Mapping[str, Tensor]) -> Score | None:
        """The score of a state dict on ``test``, None without it."""
        return None if self.test is None else replace(self, data=self.test).score(state)


def scores_of(points: Sequence[Score]) -> Scores:
    """The scores of several networks, by quantity."""
    errors = tuple(score.error for score in points if score.error is not None)
    accuracies = tuple(score.accuracy for score in points if score.accuracy is not None)
    losses = tuple(score.loss for score in points)
    return Scores(losses, errors or None, accuracies or None, points[0].count)


def _size(right: Tensor | None, targets: object) -> int:
    """How many predictions a batch's scalar loss is the mean of."""
    if right is not None:
        return right.numel()
    return len(targets) if isinstance(targets, Sized) else 1


def _logits(outputs: object) -> Tensor:
    """The logits in what a module returns: itself, its ``logits``, or the first of several."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        outputs = outputs["logits"]
    elif hasattr(outputs, "logits"):
        outputs = outputs.logits
    elif isinstance(outputs, (tuple, list)) and outputs:
        outputs = outputs[0]
    if isinstance(outputs, Tensor):
        return outputs
    raise DataError(
        f"the module returns a {type(outputs).__name__} in which no logits are found; give a loss "
        "and a metric that read it."
    )
