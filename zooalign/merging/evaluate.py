"""Loss and error of a module on a state dict."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from zooalign.errors import DataError, ZooalignError, is_out_of_memory
from zooalign.graph.batches import read_batches, require_repeatable
from zooalign.graph.module_runner import Runner
from zooalign.matching.measures import (
    Measure,
    Metric,
    MetricLike,
    name_of,
    of_task,
    task_loss,
    task_metric,
)
from zooalign.merging.curve import Scores
from zooalign.merging.statistics import reset_statistics
from zooalign.text import first_line

__all__ = ["Score", "Scoring", "Sums", "evaluate", "scores_of"]


@dataclass(frozen=True)
class Score:
    """Averages over a data set.

    Attributes
    ----------
    loss:
        Mean loss.
    error:
        One minus the accuracy, or a metric that is better when lower; None without a metric.
    accuracy:
        Mean of a metric that is better when higher, a share; None without one.
    count:
        Number of predictions measured.
    measures:
        Names of the loss, and of the metric if there is one.
    """

    loss: float
    error: float | None
    accuracy: float | None
    count: int
    measures: tuple[str, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether every value is a finite number."""
        return all(math.isfinite(v) for v in (self.loss, self.error) if v is not None)


def evaluate(
    module: nn.Module,
    state: Mapping[str, Tensor],
    batches: Iterable[object],
    *,
    loss: Measure = task_loss,
    metric: MetricLike | None = task_metric,
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
        ``loss(outputs, targets)``: one value per prediction, or the batch's mean as a scalar;
        better when lower. By default what the targets call for
        (:func:`~zooalign.matching.measures.task_loss`).
    metric:
        ``metric(outputs, targets)``: one value in [0, 1] (or a boolean) per prediction, averaged
        to the accuracy; a :class:`~zooalign.matching.measures.Metric` for another direction; None
        to measure the loss alone.

    Returns
    -------
    Averages over all predictions, summed in float64. They may be NaN or infinite.

    Raises
    ------
    DataError
        If there is no batch, one without targets, targets that the loss does not fit, or a metric
        that is no share.
    MergeError
        If the state dict does not fit the module.
    """
    run = Runner.of(module, state)
    sums, settled = Sums(), None
    for index, batch in enumerate(read_batches(batches)):
        if batch.targets is None:
            raise DataError(
                f"batch {index} has no targets, and a loss needs them: give pairs "
                "(inputs, targets)."
            )
        outputs = run(batch)
        targets = batch.to(run.device).targets
        settled = settled or of_task(loss, metric, outputs, targets)
        sums.add(*settled, outputs, targets)
    if settled is None or not sums.losses:
        raise DataError("the data holds batches but no example in them.")
    return sums.score(*settled)


@dataclass
class Sums:
    """Sums over the batches so far, of which a score is the average."""

    loss: float = 0.0
    losses: int = 0
    metric: float = 0.0
    predictions: int = 0

    def add(self, loss: Measure, metric: Metric | None, outputs: object, targets: Any) -> None:
        """Add what a network's outputs on a batch are scored with.

        Raises
        ------
        DataError
            The loss or the metric fails on them, or gives no tensor.
        """
        values = _measured(loss, "loss", outputs, targets)
        if values is None:
            raise DataError(f"the loss '{name_of(loss)}' gives nothing on these targets")
        values = values.detach().cpu().double()
        measured = None if metric is None else _measured(metric, "metric", outputs, targets)
        if measured is not None:
            self.metric += float(measured.detach().cpu().double().sum())
            self.predictions += measured.numel()
        size = values.numel() if values.ndim else _size(measured, targets)
        self.loss += float(values.sum()) * (1 if values.ndim else size)
        self.losses += size

    def score(self, loss: Measure, metric: Metric | None) -> Score:
        """The averages; the measures are named."""
        error, accuracy = None, None
        names = [name_of(loss)]
        if metric is not None and self.predictions:
            names.append(name_of(metric))
            mean = self.metric / self.predictions
            if metric.better == "higher":
                error, accuracy = _share(metric, mean, self.metric, self.predictions)
            else:
                error = mean if metric.of_mean is None else metric.of_mean(mean)
        count = self.predictions or self.losses
        return Score(self.loss / self.losses, error, accuracy, count, tuple(names))


def _measured(measure: MetricLike, what: str, outputs: object, targets: Any) -> Tensor | None:
    try:
        result: Any = measure(outputs, targets)
    except (ZooalignError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kinds = f"outputs ({type(outputs).__name__}) and targets ({type(targets).__name__})"
        raise DataError(
            f"the {what} '{name_of(measure)}' fails on {kinds}: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    if result is not None and not isinstance(result, Tensor):
        raise DataError(
            f"the {what} '{name_of(measure)}' gives a {type(result).__name__}, and one value a "
            "prediction is needed, as a tensor"
        )
    return result


def _share(metric: Metric, mean: float, total: float, predictions: int) -> tuple[float, float]:
    """Error and accuracy of a metric that is a share; NaN stays."""
    if mean < -1e-9 or mean > 1 + 1e-9:
        raise DataError(
            f"the metric '{name_of(metric)}' is {mean:.4g} on average, and a metric is a share "
            "from 0 to 1 that is better when higher. Where lower is better, say so: "
            "Metric(function, better='lower'), or --metric 'py:module:function?better=lower'"
        )
    return (predictions - total) / predictions, mean


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
    loss: Measure = task_loss
    metric: MetricLike | None = task_metric

    def __post_init__(self) -> None:
        for name in ("data", "test", "reset"):
            if getattr(self, name) is not None:
                require_repeatable(getattr(self, name), name, "at every point")

    def of(self, ends: tuple[nn.Module, nn.Module], alpha: float) -> "Scoring":
        """The same on a line: in the modules of its ends at 0 and 1, in this one between."""
        module = {0.0: ends[0], 1.0: ends[1]}.get(alpha, self.module)
        return self if module is self.module else replace(self, module=module)

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
    first = points[0]
    return Scores(losses, errors or None, accuracies or None, first.count, first.measures)


def _size(right: Tensor | None, targets: object) -> int:
    """How many predictions a batch's scalar loss is the mean of."""
    if right is not None:
        return right.numel()
    return len(targets) if isinstance(targets, Sized) else 1
