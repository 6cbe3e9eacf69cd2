"""How well a network agrees with the mean of its parents' outputs, on held-out rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zooalign.merging.refit.samples import Split

__all__ = ["agreement", "class_axis", "divergence", "kullback_leibler"]


def class_axis(output: Tensor) -> int | None:
    """The axis of a network's output that has the classes; None where it cannot be logits.

    As in torch the second one for predictions of a row or of each pixel, the last one for those of
    each token.
    """
    axis = 1 if output.dim() in (2, 4) else output.dim() - 1
    return axis if output.dim() > 1 and output.shape[axis] > 1 else None


def agreement(
    outputs: Sequence[Tensor], wanted: Sequence[Tensor], split: Split, rows: int
) -> tuple[float, float]:
    """The share of held-out predictions in which two networks agree, and minus their divergence.

    Where outputs are no logits, the first is one minus the share of the variance that is missed.
    """
    ours, theirs = _held(outputs, split, rows), _held(wanted, split, rows)
    apart = -divergence(outputs, wanted, split, rows)
    axis = class_axis(ours)
    if axis is None:
        return 1.0 + apart, apart
    return float((ours.argmax(axis) == theirs.argmax(axis)).double().mean()), apart


def divergence(
    outputs: Sequence[Tensor], wanted: Sequence[Tensor], split: Split, rows: int
) -> float:
    """The mean Kullback-Leibler divergence from the wanted predictions, on held-out rows.

    Where outputs are no logits, the share of their variance that is missed.
    """
    ours, theirs = (_held(values, split, rows).double() for values in (outputs, wanted))
    axis = class_axis(ours)
    if axis is not None:
        return float(kullback_leibler(ours, theirs, axis))
    variance = (theirs - theirs.mean()).square().sum().clamp(min=1e-30)
    return float((ours - theirs).square().sum() / variance)


def kullback_leibler(logits: Tensor, wanted: Tensor, axis: int) -> Tensor:
    """The mean over predictions of the divergence from the softmax of the wanted logits."""
    target = wanted.log_softmax(axis)
    return (target.exp() * (target - logits.log_softmax(axis))).sum(axis).mean()


def _held(values: Sequence[Tensor], split: Split, rows: int) -> Tensor:
    """The held-out rows of all batches; everything where there is no axis for the batch."""
    numbers = torch.arange(rows)
    parts = [
        value[~split.seen(numbers + rows * n).to(value.device)]
        if value.shape[:1] == (rows,)
        else value
        for n, value in enumerate(values)
    ]
    return torch.cat(parts) if parts[0].dim() else torch.stack(parts)
