"""How far outputs differ, and how far rounding alone may bring them apart."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zooalign.graph.outputs import tensors

__all__ = ["LowestPrecision", "less_precise", "relative_error", "relative_errors", "tolerance"]

# Rounding errors of a deep network, in units of the precision of its least precise step: sums
# over thousands of terms in another order, through tens of layers. On most of timm's
# architectures it is below 20; 640 was seen where norms of random statistics amplify it. In
# float64 there is room to spare: a mistake shows in the first digits.
_SLACK = 2.0**9
_SLACK_FLOAT64 = 2.0**13


def tolerance(lowest: torch.dtype) -> float:
    """The relative error rounding may cause in a module whose least precise step has this dtype."""
    slack = _SLACK_FLOAT64 if lowest == torch.float64 else _SLACK
    return float(torch.finfo(lowest).eps) * slack


def relative_errors(reference: Sequence[Tensor], others: Sequence[Tensor]) -> list[float]:
    """For each output its largest |difference| over the largest |value| of the reference.

    An output without elements has no error.
    """
    tiny = torch.finfo(torch.float64).tiny
    return [
        float((b - a).abs().max() / a.abs().max().clamp_min(tiny)) if a.numel() else 0.0
        for a, b in zip(reference, others, strict=True)
    ]


def relative_error(reference: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest of :func:`relative_errors`."""
    return max(relative_errors(reference, others))


def less_precise(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    """The floating dtype of the larger rounding; the first of equals."""
    return second if torch.finfo(second).eps > torch.finfo(first).eps else first


class LowestPrecision(TorchDispatchMode):
    """Notes the least precise floating dtype that any operator computes in, as ``lowest``.

    Models that compute norms in float32 agree to float32 only, whatever their weights are.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.lowest = torch.float64

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tensors(result):
            if value.is_floating_point() and value.numel() > 1:
                self.lowest = less_precise(self.lowest, value.dtype)
        return result
