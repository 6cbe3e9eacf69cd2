"""Random networks for property tests: a list of steps over a pool of tensors.

A network is data, a tuple of :class:`Step`, so that hypothesis can print and shrink it. Axis 0 of
every tensor is the batch. Every tensor of the pool that nothing uses goes to an output layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["OPERATIONS", "Program", "Step", "operation", "pool_shapes", "run_step"]


@dataclass(frozen=True)
class Step:
    """One operator: which pool tensors it reads, which parameters, and further arguments."""

    name: str
    reads: tuple[int, ...]
    parameters: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()


Operation = Callable[..., "Tensor | Sequence[Tensor]"]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    """Let steps name a function."""
    OPERATIONS[function.__name__.strip("_")] = function
    return function


@operation
def linear(x: Tensor, weight: Tensor, bias: Tensor, *, axis: int) -> Tensor:
    return F.linear(x.movedim(axis, -1), weight, bias).movedim(-1, axis)


@operation
def activation(x: Tensor, *, kind: str) -> Tensor:
    return {"tanh": torch.tanh, "relu": F.relu, "silu": F.silu}[kind](x)


@operation
def scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight


@operation
def shift(x: Tensor, weight: Tensor) -> Tensor:
    return x + weight


@operation
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, affine: bool) -> Tensor:
    shape = weight.shape
    return F.layer_norm(x, shape, weight, bias) if affine else F.layer_norm(x, shape)


@operation
def group_norm(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int) -> Tensor:
    return F.group_norm(x, groups, weight, bias)


@operation
def softmax(x: Tensor, *, axis: int) -> Tensor:
    return x.softmax(axis)


@operation
def reduce(x: Tensor, *, axis: int, kind: str, keep: bool) -> Tensor:
    return getattr(x, kind)(dim=axis, keepdim=keep)


@operation
def reshape(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(x.shape[0], *shape)


@operation
def permute(x: Tensor, *, order: tuple[int, ...]) -> Tensor:
    return x.permute(0, *order)


@operation
def cut(x: Tensor, *, axis: int, low: int, high: int, step: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[axis] = slice(low, high, step)
    return x[tuple(index)]


@operation
def select(x: Tensor, *, axis: int, index: int) -> Tensor:
    return x.select(axis, index)


@operation
def chunk(x: Tensor, *, axis: int, parts: int) -> Sequence[Tensor]:
    return x.chunk(parts, axis)


@operation
def glu(x: Tensor, *, axis: int) -> Tensor:
    return F.glu(x, axis)


@operation
def cat(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return torch.cat([x, y], axis)


@operation
def stack(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return torch.stack([x, y], axis)


@operation
def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@operation
def mul(x: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(x) * y


@operation
def contract(x: Tensor, y: Tensor, *, equation: str) -> Tensor:
    return torch.einsum(equation, x, y)


@operation
def weigh(x: Tensor, weight: Tensor, *, equation: str) -> Tensor:
    return torch.einsum(equation, x, weight)


@operation
def conv(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, padding: int) -> Tensor:
    return F.conv1d(x, weight, bias, padding=padding, groups=groups)


@operation
def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


@operation
def pad(x: Tensor, *, axis: int, low: int, high: int) -> Tensor:
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [low, high])


@operation
def spread(x: Tensor, *, axis: int, size: int) -> Tensor:
    x = x.unsqueeze(axis)
    return x.expand(*x.shape[:axis], size, *x.shape[axis + 1 :])


@operation
def repeat(x: Tensor, *, axis: int, times: int, interleave: bool) -> Tensor:
    if interleave:
        return x.repeat_interleave(times, axis)
    return x.repeat(*(times if n == axis else 1 for n in range(x.ndim)))


@operation
def turn(x: Tensor, *, axis: int, kind: str) -> Tensor:
    if kind == "roll":
        return x.roll(1, axis)
    return x.flip(axis) if kind == "flip" else x.cumsum(axis)


@operation
def write(x: Tensor, y: Tensor, *, axis: int, low: int) -> Tensor:
    made = torch.zeros_like(x)
    made.narrow(axis, low, y.shape[axis]).add_(y)
    return made + x


@operation
def recurrent(x: Tensor, *parameters: Tensor, both: bool) -> Tensor:
    zeros = x.new_zeros(1 + both, x.shape[0], parameters[1].shape[1])
    given = (True, 1, 0.0, False, both, True)
    made: Tensor = torch.lstm(x, (zeros, zeros), list(parameters), *given)[0]
    return made


class Program(nn.Module):
    """A random network. ``parameters`` gives shapes; an output layer reads what is left over.

    With ``whole`` it also reads tensors of which the steps read a part only.
    """

    def __init__(
        self,
        width: tuple[int, ...],
        steps: tuple[Step, ...],
        parameters: tuple[tuple[int, ...], ...],
        *,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.steps, self.width = steps, width
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in parameters)
        shapes = pool_shapes(width, steps, parameters)
        parts = ("cut", "select") if whole else ()
        read = {n for step in steps if step.name not in parts for n in step.reads}
        self.left = [n for n in range(len(shapes)) if n not in read]
        self.heads = nn.ParameterList(
            nn.Parameter(torch.randn(2, prod(shapes[n]))) for n in self.left
        )

    def forward(self, x: Tensor) -> Tensor:
        pool = [x]
        for step in self.steps:
            pool.extend(run_step(step, pool, list(self.weights)))
        made = [F.linear(pool[n].flatten(1), w) for n, w in zip(self.left, self.heads, strict=True)]
        return torch.stack(made).sum(0)

    def inputs(self) -> tuple[Tensor]:
        """Example inputs."""
        return (torch.zeros(2, *self.width),)


def run_step(step: Step, pool: list[Tensor], weights: list[Any]) -> list[Tensor]:
    """What a step makes of the pool, one tensor or several."""
    tensors = [pool[n] for n in step.reads] + [weights[n] for n in step.parameters]
    made = OPERATIONS[step.name](*tensors, **dict(step.values))
    return [made] if isinstance(made, Tensor) else list(made)


def pool_shapes(
    width: tuple[int, ...], steps: Sequence[Step], parameters: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Shapes of all tensors of the pool, without the batch."""
    pool = [torch.empty(2, *width, device="meta")]
    weights = [torch.empty(shape, device="meta") for shape in parameters]
    for step in steps:
        pool.extend(run_step(step, pool, weights))
    return [tuple(x.shape[1:]) for x in pool]
