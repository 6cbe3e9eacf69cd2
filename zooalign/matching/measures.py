"""Losses and metrics: what a network's outputs are scored by, by name, and which way is better.

A measure is ``measure(outputs, targets)``, which gives one value per prediction. A loss is better
when lower. A metric is a share that is better when higher, unless it is a :class:`Metric` that
says otherwise. Where nobody names one the task decides (:func:`task_loss`): class numbers call for
cross-entropy and accuracy, numbers of the outputs' shape for the squared error, and everything else
is an error.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zooalign.errors import DataError

__all__ = [
    "LOSSES",
    "METRICS",
    "Measure",
    "Metric",
    "MetricLike",
    "correct",
    "cross_entropy",
    "logits",
    "measure_named",
    "name_of",
    "of_task",
    "task_loss",
    "task_metric",
]

Measure = Callable[[Any, Any], Tensor]
# A metric gives None where it does not apply.
MetricLike = Callable[[Any, Any], Tensor | None]

# Targets that do not count, as in torch.
IGNORED = -100
_NAME_IT = "name what they are scored by (--loss and --metric, or loss= and metric=)"


@dataclass(frozen=True)
class Metric:
    """A metric with its direction.

    Attributes
    ----------
    measure:
        One value per prediction, averaged.
    better:
        ``higher``: a share in [0, 1], whose error is one minus it. ``lower``: the metric is an
        error itself.
    of_mean:
        Applied to the average.
    """

    measure: MetricLike
    better: Literal["higher", "lower"] = "higher"
    of_mean: Callable[[float], float] | None = None

    def __call__(self, outputs: Any, targets: Any) -> Tensor | None:
        """One value per prediction."""
        return self.measure(outputs, targets)


def logits(outputs: Any) -> Tensor:
    """The tensor that a network's outputs are compared by; DataError where none is known.

    It is the output itself, its ``logits``, or the first floating-point tensor of several.
    """
    named = getattr(outputs, "logits", outputs)
    if isinstance(named, Mapping) and "logits" in named:
        named = named["logits"]
    if isinstance(named, Tensor):
        return named
    values = named.values() if isinstance(named, Mapping) else named
    for value in values if isinstance(values, Iterable) else ():
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    raise DataError(
        f"the module returns a {type(outputs).__name__} in which no outputs are found: neither "
        "a tensor nor logits. Give a loss and a metric (or a criterion) that read it"
    )


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each prediction.

    Classes are on axis 1 of the logits as in torch, or on the last axis where only that fits
    (tokens). Targets of -100 do not count. Targets may also be class probabilities (axis 1).

    Raises
    ------
    DataError
        If the targets are no classes of these logits.
    """
    scores = logits(outputs).float()
    if targets.is_floating_point():
        _require_probabilities(scores, targets, "cross-entropy", "--loss mse, or loss='mse'")
        return F.cross_entropy(scores, targets.to(scores.dtype), reduction="none")
    scores, wanted = _classes(scores, targets)
    return F.cross_entropy(scores, wanted, reduction="none")


def correct(outputs: Any, targets: Tensor) -> Tensor:
    """Whether the largest logit is the target (or the likeliest class), for each prediction.

    Axes and targets are as for :func:`cross_entropy`.
    """
    scores = logits(outputs)
    if targets.is_floating_point():
        _require_probabilities(scores, targets, "accuracy", "--metric mse, or metric='mse'")
        return scores.argmax(1) == targets.argmax(1)
    scores, wanted = _classes(scores, targets)
    return scores.argmax(1) == wanted


def task_loss(outputs: Any, targets: Tensor) -> Tensor:
    """The loss that the targets call for.

    Class numbers and class probabilities: :func:`cross_entropy`. Numbers of the outputs' shape: the
    squared error.

    Raises
    ------
    DataError
        If nothing fits.
    """
    loss, _ = of_task(task_loss, None, outputs, targets)
    return loss(outputs, targets)


def task_metric(outputs: Any, targets: Tensor) -> Tensor | None:
    """Accuracy where the targets are classes, as for :func:`task_loss`; else None."""
    return correct(outputs, targets) if _is_classification(outputs, targets) else None


def of_task(
    loss: Measure, metric: MetricLike | None, outputs: Any, targets: Any
) -> tuple[Measure, Metric | None]:
    """Loss and metric, where :func:`task_loss` and :func:`task_metric` are what they stand for."""
    if loss is task_loss:
        loss = cross_entropy if _is_classification(outputs, targets) else _squared_error
    if metric is task_metric:
        # With a loss that was named, what is no classification has no accuracy, and that is fine.
        try:
            metric = correct if _is_classification(outputs, targets) else None
        except DataError:
            metric = None
    if metric is None or isinstance(metric, Metric):
        return loss, metric
    return loss, Metric(metric)


def _is_classification(outputs: Any, targets: Any) -> bool:
    if not isinstance(targets, Tensor):
        raise DataError(f"targets are a {type(targets).__name__}, not a tensor; {_NAME_IT}")
    scores = logits(outputs)
    if not targets.is_floating_point():
        _class_axis(scores, targets)
        return True
    if scores.shape == targets.shape and _are_probabilities(targets):
        return True
    _same_shape(scores, targets)
    return False


def _classes(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (M, C) and targets (M,) of the predictions that count."""
    axis = _class_axis(scores, targets)
    rows, wanted = scores.movedim(axis, -1).reshape(-1, scores.shape[axis]), targets.reshape(-1)
    counted = wanted != IGNORED
    rows, wanted = (rows, wanted) if counted.all() else (rows[counted], wanted[counted])
    classes = rows.shape[1]
    if wanted.numel() and not 0 <= int(wanted.min()) <= int(wanted.max()) < classes:
        raise DataError(
            f"targets run from {int(wanted.min())} to {int(wanted.max())}, and the model has "
            f"{classes} classes: 0 to {classes - 1}"
        )
    return rows, wanted.long()


def _class_axis(scores: Tensor, targets: Tensor) -> int:
    shape, wanted = tuple(scores.shape), tuple(targets.shape)
    if len(shape) == len(wanted) + 1:
        if (*shape[:1], *shape[2:]) == wanted and shape[1] > 1:
            return 1
        if shape[:-1] == wanted and shape[-1] > 1:
            return len(shape) - 1
    raise DataError(
        f"outputs of shape {shape} and integer targets of shape {wanted} have no cross-entropy: "
        f"there is no axis of classes. {_NAME_IT[0].upper()}{_NAME_IT[1:]}"
    )


def _are_probabilities(targets: Tensor) -> bool:
    if targets.ndim < 2 or targets.shape[1] < 2 or not bool((targets >= 0).all()):
        return False
    total = targets.float().sum(1)
    return torch.allclose(total, torch.ones_like(total), atol=1e-3)


def _require_probabilities(scores: Tensor, targets: Tensor, measure: str, instead: str) -> None:
    if scores.shape != targets.shape or not _are_probabilities(targets):
        raise DataError(
            f"outputs of shape {tuple(scores.shape)} and targets of shape {tuple(targets.shape)} "
            f"have no {measure} with classes on axis 1: the targets are numbers, and no class "
            f"probabilities. Score them by mse or mae ({instead})"
        )


def _same_shape(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets of one shape; an output of one number loses that axis."""
    if scores.shape != targets.shape and scores.shape == (*targets.shape, 1):
        scores = scores.squeeze(-1)
    if scores.shape != targets.shape:
        raise DataError(
            f"outputs of shape {tuple(scores.shape)} and targets of shape {tuple(targets.shape)} "
            f"cannot be compared number by number. {_NAME_IT[0].upper()}{_NAME_IT[1:]}"
        )
    return scores.float(), targets.to(torch.float32)


def _per_row(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def _squared_error(outputs: Any, targets: Tensor) -> Tensor:
    """Mean squared error of each row."""
    scores, wanted = _same_shape(logits(outputs), targets)
    return _per_row((scores - wanted) ** 2)


def _absolute_error(outputs: Any, targets: Tensor) -> Tensor:
    """Mean absolute error of each row."""
    scores, wanted = _same_shape(logits(outputs), targets)
    return _per_row((scores - wanted).abs())


def _binary_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of logits for yes (1) or no (0), mean over each row."""
    scores, wanted = _same_shape(logits(outputs), targets)
    if not bool(((wanted >= 0) & (wanted <= 1)).all()):
        raise DataError("binary cross-entropy takes targets from 0 to 1")
    return _per_row(F.binary_cross_entropy_with_logits(scores, wanted, reduction="none"))


def _overlaps(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row and class: positions that prediction and target share, and the sum of both's.

    Shapes (rows, classes). A single channel of logits is a yes where it is positive.
    """
    scores = logits(outputs)
    if scores.ndim == targets.ndim and scores.shape[1] == 1:
        scores = scores.squeeze(1)
    if scores.shape == targets.shape:
        predicted, classes = (scores > 0).long(), 2
    else:
        axis = _class_axis(scores, targets)
        predicted, classes = scores.argmax(axis), scores.shape[axis]
    rows = targets.shape[0]
    wanted = targets.reshape(rows, -1).long()
    predicted = predicted.reshape(rows, -1)
    counted = wanted != IGNORED
    # Ignored positions get a class of their own, which is dropped.
    wanted = wanted.where(counted, classes)
    predicted = predicted.where(counted, classes)
    offset = torch.arange(rows, device=wanted.device)[:, None] * (classes + 1)

    def count(of: Tensor) -> Tensor:
        counts = torch.bincount(of.reshape(-1), minlength=rows * (classes + 1))
        return counts.reshape(rows, -1)[:, :classes].double()

    same = wanted.where(wanted == predicted, classes)
    return count(same + offset), count(wanted + offset) + count(predicted + offset)


def _dice(outputs: Any, targets: Tensor) -> Tensor:
    """Dice coefficient of each row, mean over the classes in its prediction or target."""
    shared, both = _overlaps(outputs, targets)
    return _mean_of_present(2 * shared, both)


def _miou(outputs: Any, targets: Tensor) -> Tensor:
    """Intersection over union of each row, mean over the classes in its prediction or target."""
    shared, both = _overlaps(outputs, targets)
    return _mean_of_present(shared, both - shared)


def _mean_of_present(numerator: Tensor, denominator: Tensor) -> Tensor:
    present = denominator > 0
    shares = numerator / denominator.clamp(min=1)
    return (shares * present).sum(1) / present.sum(1).clamp(min=1)


LOSSES: Mapping[str, Measure] = {
    "task": task_loss,
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": _binary_cross_entropy,
    "mse": _squared_error,
    "mae": _absolute_error,
}
METRICS: Mapping[str, MetricLike] = {
    "task": task_metric,
    "accuracy": correct,
    "dice": Metric(_dice),
    "miou": Metric(_miou),
    "perplexity": Metric(cross_entropy, "lower", math.exp),
    "mse": Metric(_squared_error, "lower"),
    "mae": Metric(_absolute_error, "lower"),
}


def measure_named(name: Any, kind: Literal["loss", "metric"]) -> Any:
    """The loss or metric of a name; what is no string is taken for one itself.

    Raises
    ------
    DataError
        If there is none; it names those there are, and what was probably meant.
    """
    table = LOSSES if kind == "loss" else METRICS
    if not isinstance(name, str):
        return name
    if name in table:
        return table[name]
    near = get_close_matches(name, table, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    if kind == "loss" and name in METRICS:
        hint = f"; {name} is a metric (--metric {name}), and a loss is better when lower"
    raise DataError(
        f"no {kind} is named '{name}'{hint}. There are {', '.join(table)}, and your own as "
        "py:module:callable"
    )


def name_of(measure: Any) -> str:
    """A measure's name for people: in the tables here, or that of the function."""
    for table in (LOSSES, METRICS):
        for name, known in table.items():
            if measure == known:
                return name
    if isinstance(measure, Metric):
        return name_of(measure.measure)
    return str(getattr(measure, "__name__", type(measure).__name__))
