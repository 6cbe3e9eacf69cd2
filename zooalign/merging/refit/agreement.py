"""How well a network agrees with the mean of its parents' outputs, on held-out rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zooalign.merging.refit.samples import Split

__all__ = ["Agreement", "agreement"]

# Agreement in the largest logit, and (to decide between equals) the share of the variance missed.
Agreement = tuple[float, float]


def agreement(
    outputs: Sequence[object], wanted: Sequence[object], split: Split, rows: int
) -> Agreement:
    """In how many held-out predictions two networks agree, and minus the error's share.

    Where outputs are not logits (they have one value, or no axis for the batch), both are one
    minus the share of the variance that is missed.
    """
    pairs = [
        (_held(one, split, rows, n), _held(other, split, rows, n))
        for n, (one, other) in enumerate(zip(outputs, wanted, strict=True))
        if isinstance(one, Tensor) and isinstance(other, Tensor)
    ]
    ours = torch.cat([one.double().flatten() for one, _ in pairs])
    theirs = torch.cat([other.double().flatten() for _, other in pairs])
    variance = (theirs - theirs.mean()).square().sum().clamp(min=1e-30)
    fit = 1.0 - float((ours - theirs).square().sum() / variance)
    first = pairs[0][0]
    axis = 1 if first.dim() in (2, 4) else -1
    if first.dim() < 2 or first.shape[axis] < 2:
        return fit, fit
    same = torch.cat([(a.argmax(axis) == b.argmax(axis)).flatten() for a, b in pairs])
    return float(same.double().mean()), fit


def _held(value: Tensor, split: Split, rows: int, batch: int) -> Tensor:
    """The held-out rows of one batch's output; all where it has no axis for the batch."""
    if not value.dim() or len(value) != rows:
        return value
    return value[split.part(torch.arange(rows) + rows * batch, "held").to(value.device)]
