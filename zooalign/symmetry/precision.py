"""What rounding may do to a comparison: the least precise step of a run, and its tolerance."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LowestPrecision", "tolerance"]

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


class LowestPrecision(TorchDispatchMode):
    """Notes the least precise floating dtype that any operator computes in, as ``lowest``.

    Models that compute norms in float32 agree to float32 only, whatever their weights are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lowest = torch.float64

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if (
                isinstance(value, Tensor)
                and value.is_floating_point()
                and value.numel() > 1
                and torch.finfo(value.dtype).eps > torch.finfo(self.lowest).eps
            ):
                self.lowest = value.dtype
        return result
