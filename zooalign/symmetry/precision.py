"""How far outputs differ, and how far rounding alone may bring them apart."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zooalign.graph.outputs import tensors

__all__ = [
    "LowestPrecision",
    "largest_deviation",
    "less_precise",
    "relative_error",
    "relative_errors",
    "sample",
    "tolerance",
    "tolerance_of_one",
    "typical",
]

# Rounding errors of a deep network, in units of the precision of its least precise step: sums
# over thousands of terms in another order, through tens of layers. On most of timm's
# architectures it is below 20; 640 was seen where norms of random statistics amplify it. In
# float64 there is room to spare: a mistake shows in the first digits.
_SLACK = 2.0**9
_SLACK_FLOAT64 = 2.0**13
# The same for one operator: sums in another order, and what an ill-conditioned one makes of that.
_OF_ONE = {
    torch.float64: 2.0**20,
    torch.float32: 2.0**8,
    torch.float16: 2.0**4,
    torch.bfloat16: 2.0**3,
}
_SAMPLE = 1024
_PIECE = 1 << 15


def tolerance(lowest: torch.dtype) -> float:
    """The relative error rounding may cause in a module whose least precise step has this dtype."""
    slack = _SLACK_FLOAT64 if lowest == torch.float64 else _SLACK
    return float(torch.finfo(lowest).eps) * slack


def tolerance_of_one(dtype: torch.dtype) -> float:
    """The deviation rounding may cause in one operator that computes in this dtype."""
    return float(torch.finfo(dtype).eps) * _OF_ONE.get(dtype, 2.0)


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


def largest_deviation(got: Tensor, want: Tensor, scale: float = 0.0) -> float:
    """How far values of one shape are apart at most, each relative to itself and ``scale``.

    Values that are equal, or both no number, are not; those of which one alone is infinite or no
    number, and integers and truth values that differ, are infinitely far.
    """
    if not want.numel():
        return 0.0
    if not want.is_floating_point() and not want.is_complex():
        return 0.0 if torch.equal(got, want) else float("inf")
    if got.is_contiguous() and want.is_contiguous():
        # In pieces that stay in the processor's cache.
        pieces = zip(got.view(-1).split(_PIECE), want.view(-1).split(_PIECE), strict=True)
    else:
        pieces = zip([got], [want], strict=True)
    scale = scale or torch.finfo(torch.float64).tiny
    return max(_deviation(first, second, scale) for first, second in pieces)


def _deviation(got: Tensor, want: Tensor, scale: float) -> float:
    apart = (got - want).abs().div_(want.abs().add_(scale))
    largest = float(apart.amax())
    if largest != largest:
        alike = (got == want) | (got.isnan() & want.isnan())
        apart = apart.nan_to_num(torch.inf, torch.inf).masked_fill_(alike, 0.0)
        largest = float(apart.amax())
    return largest


def typical(x: Tensor) -> float:
    """A small one of the usual magnitudes in a tensor: a quarter of those that count are less.

    Zeros and what is not finite do not count, and a sample of large tensors is enough.
    """
    sizes = sample(x).abs().double().reshape(-1)
    sizes = sizes[sizes.isfinite() & (sizes > 0)]
    return float(sizes.sort().values[sizes.numel() // 4]) if sizes.numel() else 0.0


def sample(x: Tensor) -> Tensor:
    """Some thousand values, evenly from all over a tensor: of each axis two positions at least."""
    for number, axis in enumerate(sorted(range(x.ndim), key=lambda n: x.shape[n])):
        step = int((x.numel() / _SAMPLE) ** (1 / (x.ndim - number)))
        step = min(step, x.shape[axis] // 2)
        if step > 1:
            x = x[(slice(None),) * axis + (slice(None, None, step),)]
    return x


class LowestPrecision(TorchDispatchMode):
    """Notes the least precise floating dtype that any operator computes in, as ``lowest``.

    Models that compute norms in float32 agree to float32 only, whatever their weights are.
    """

    supports_higher_order_operators = True

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
