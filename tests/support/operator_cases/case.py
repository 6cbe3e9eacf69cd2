"""For every operator rule tiny networks that use it between two hidden layers, with their order.

Each network is: a linear layer from 5 inputs to ``width`` hidden units, the function of the case
with parameters of its own, and a linear layer to 2 outputs that reads every position of what came
out. ``order`` is derived by hand; ``L(n)`` is ``log10(n!)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from sample_models import L
from torch import Tensor, nn

__all__ = [
    "INDEX",
    "SIX",
    "TWO_THREE",
    "Between",
    "OperatorCase",
    "case",
    "grid",
    "line",
    "own_orders",
    "sliced_write",
]

SIX = L(6)
TWO_THREE = L(2) + 2 * L(3)  # two blocks, an own order of three inside each


@dataclass(frozen=True)
class OperatorCase:
    """An operator, a function that uses it, shapes of its parameters, and log10 of the order.

    ``order`` is the true one; ``found`` is what is found so far where that is less, and ``missed``
    says which symmetry is missed (or which positions nothing reads).
    """

    operator: str
    function: Callable[..., Any]
    order: float
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    width: int = 6
    found: float | None = None
    missed: str = ""


class Between(nn.Module):
    """The network of a case."""

    def __init__(self, case: OperatorCase) -> None:
        super().__init__()
        self.function = case.function
        self.first = nn.Linear(5, case.width)
        self.inner = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(shape)) for name, shape in case.parameters.items()}
        )
        with torch.no_grad():
            made = self.function(torch.zeros(2, case.width), **self.inner)
        self.last = nn.Linear(made[0].numel(), 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(torch.tanh(self.first(x)), **dict(self.inner.items()))
        return self.last(y.flatten(1))


def line(x: Tensor) -> Tensor:
    ramp = torch.arange(4.0, device=x.device) + 1
    return x[:, :, None] * ramp


def grid(x: Tensor) -> Tensor:
    """Six units as channels of a 4 x 4 image, scaled by position so that positions differ."""
    ramp = torch.arange(16.0, device=x.device).reshape(4, 4) + 1
    return x[:, :, None, None] * ramp


def own_orders(x: Tensor, p: Tensor) -> Tensor:
    """Four positions by three units, which have an own order at each position; p (4, 3, 6)."""
    return torch.einsum("bc,ndc->bnd", x, p)


def sliced_write(x: Tensor, step: int = 1) -> Tensor:
    made = torch.zeros_like(x)
    made[:, 2::step] = x[:, 2::step]
    return torch.cat([x, made.softmax(1)], 1)


INDEX = torch.tensor([2, 0, 1, 5, 4, 3])


def case(
    operator: str, function: Callable[..., Any], order: float, **parameters: Any
) -> OperatorCase:
    own = {key: parameters.pop(key) for key in ("width", "found", "missed") if key in parameters}
    return OperatorCase(operator, function, order, parameters, **own)
