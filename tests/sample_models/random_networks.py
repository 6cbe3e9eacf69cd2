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
from hypothesis import strategies as st
from torch import Tensor, nn

__all__ = ["Program", "Step", "programs"]

_MOST = 192  # positions of one sample of a tensor
_MOST_AXES = 5


@dataclass(frozen=True)
class Step:
    """One operator: which pool tensors it reads, which parameters, and further arguments."""

    name: str
    reads: tuple[int, ...]
    parameters: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()


Operation = Callable[..., "Tensor | Sequence[Tensor]"]
OPERATIONS: dict[str, Operation] = {}


def _operation(function: Operation) -> Operation:
    OPERATIONS[function.__name__.strip("_")] = function
    return function


@_operation
def linear(x: Tensor, weight: Tensor, bias: Tensor, *, axis: int) -> Tensor:
    return F.linear(x.movedim(axis, -1), weight, bias).movedim(-1, axis)


@_operation
def activation(x: Tensor, *, kind: str) -> Tensor:
    return {"tanh": torch.tanh, "relu": F.relu, "silu": F.silu}[kind](x)


@_operation
def scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight


@_operation
def shift(x: Tensor, weight: Tensor) -> Tensor:
    return x + weight


@_operation
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, affine: bool) -> Tensor:
    shape = weight.shape
    return F.layer_norm(x, shape, weight, bias) if affine else F.layer_norm(x, shape)


@_operation
def group_norm(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int) -> Tensor:
    return F.group_norm(x, groups, weight, bias)


@_operation
def softmax(x: Tensor, *, axis: int) -> Tensor:
    return x.softmax(axis)


@_operation
def reduce(x: Tensor, *, axis: int, kind: str, keep: bool) -> Tensor:
    return getattr(x, kind)(dim=axis, keepdim=keep)


@_operation
def reshape(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(x.shape[0], *shape)


@_operation
def permute(x: Tensor, *, order: tuple[int, ...]) -> Tensor:
    return x.permute(0, *order)


@_operation
def cut(x: Tensor, *, axis: int, low: int, high: int, step: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[axis] = slice(low, high, step)
    return x[tuple(index)]


@_operation
def select(x: Tensor, *, axis: int, index: int) -> Tensor:
    return x.select(axis, index)


@_operation
def chunk(x: Tensor, *, axis: int, parts: int) -> Sequence[Tensor]:
    return x.chunk(parts, axis)


@_operation
def glu(x: Tensor, *, axis: int) -> Tensor:
    return F.glu(x, axis)


@_operation
def cat(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return torch.cat([x, y], axis)


@_operation
def stack(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return torch.stack([x, y], axis)


@_operation
def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@_operation
def mul(x: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(x) * y


@_operation
def contract(x: Tensor, y: Tensor, *, equation: str) -> Tensor:
    return torch.einsum(equation, x, y)


@_operation
def weigh(x: Tensor, weight: Tensor, *, equation: str) -> Tensor:
    return torch.einsum(equation, x, weight)


@_operation
def conv(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, padding: int) -> Tensor:
    return F.conv1d(x, weight, bias, padding=padding, groups=groups)


@_operation
def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


@_operation
def pad(x: Tensor, *, axis: int, low: int, high: int) -> Tensor:
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [low, high])


@_operation
def spread(x: Tensor, *, axis: int, size: int) -> Tensor:
    x = x.unsqueeze(axis)
    return x.expand(*x.shape[:axis], size, *x.shape[axis + 1 :])


@_operation
def repeat(x: Tensor, *, axis: int, times: int, interleave: bool) -> Tensor:
    if interleave:
        return x.repeat_interleave(times, axis)
    return x.repeat(*(times if n == axis else 1 for n in range(x.ndim)))


@_operation
def turn(x: Tensor, *, axis: int, kind: str) -> Tensor:
    if kind == "roll":
        return x.roll(1, axis)
    return x.flip(axis) if kind == "flip" else x.cumsum(axis)


@_operation
def write(x: Tensor, y: Tensor, *, axis: int, low: int) -> Tensor:
    made = torch.zeros_like(x)
    made.narrow(axis, low, y.shape[axis]).add_(y)
    return made + x


@_operation
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
            pool.extend(_run(step, pool, list(self.weights)))
        made = [F.linear(pool[n].flatten(1), w) for n, w in zip(self.left, self.heads, strict=True)]
        return torch.stack(made).sum(0)

    def inputs(self) -> tuple[Tensor]:
        """Example inputs."""
        return (torch.zeros(2, *self.width),)


def _run(step: Step, pool: list[Tensor], weights: list[Any]) -> list[Tensor]:
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
        pool.extend(_run(step, pool, weights))
    return [tuple(x.shape[1:]) for x in pool]


class _Writer:
    """Draws steps one by one, keeping track of shapes."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        width = draw(st.sampled_from([(4,), (3, 4), (2, 6), (4, 3, 2)]))
        self.width: tuple[int, ...] = width
        self.shapes: list[tuple[int, ...]] = [width]
        self.steps: list[Step] = []
        self.parameters: list[tuple[int, ...]] = []
        # Hidden axes first: everything on the input's own axes is fixed.
        for axis in range(1, len(width) + 1):
            if axis == len(width) or draw(st.booleans()):
                self._linear(len(self.shapes) - 1, axis)

    def _parameter(self, *shape: int) -> int:
        known = [n for n, s in enumerate(self.parameters) if s == shape]
        if known and self.draw(st.integers(0, 4)) == 0:  # a shared parameter
            return self.draw(st.sampled_from(known))
        self.parameters.append(tuple(shape))
        return len(self.parameters) - 1

    def _add(
        self, name: str, reads: Sequence[int], parameters: Sequence[int] = (), **values: Any
    ) -> None:
        step = Step(name, tuple(reads), tuple(parameters), tuple(values.items()))
        pool = [torch.empty(2, *s, device="meta") for s in self.shapes]
        weights = [torch.empty(s, device="meta") for s in self.parameters]
        self.steps.append(step)
        self.shapes.extend(tuple(x.shape[1:]) for x in _run(step, pool, weights))

    def _pick(self, values: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def _linear(self, n: int, axis: int) -> None:
        size, new = self.shapes[n][axis - 1], self._pick([2, 3, 4, 6])
        if prod(self.shapes[n]) // size * new <= _MOST:
            self._add("linear", [n], [self._parameter(new, size), self._parameter(new)], axis=axis)

    def step(self) -> None:
        """One more step, on one of the latest tensors."""
        latest = range(max(0, len(self.shapes) - 4), len(self.shapes))
        candidates = [n for n in latest if n > 0 and self.shapes[n]] or [len(self.shapes) - 1]
        n = self._pick(candidates)
        shape = self.shapes[n]
        if not shape:
            return
        name = self._pick([m[5:] for m in dir(self) if m.startswith("_new_")])
        axis = self._pick(range(1, len(shape) + 1))
        getattr(self, f"_new_{name}")(n, shape, axis)

    def _new_linear(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._linear(n, axis)

    def _new_activation(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("activation", [n], kind=self._pick(["tanh", "relu", "silu"]))

    def _new_scale(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        kept = [size if self.draw(st.booleans()) else 1 for size in shape]
        self._add(self._pick(["scale", "shift"]), [n], [self._parameter(*kept)])

    def _new_norm(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if self.draw(st.booleans()):
            last = shape[axis - 1 :]
            if prod(last) > 1:
                both = [self._parameter(*last), self._parameter(*last)]
                self._add("layer_norm", [n], both, affine=self.draw(st.booleans()))
        else:
            groups = self._pick([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])
            if prod(shape) // groups > 1:
                both = [self._parameter(shape[0]), self._parameter(shape[0])]
                self._add("group_norm", [n], both, groups=groups)

    def _new_softmax(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] > 1:  # of one element it is 1, whatever was computed before
            self._add("softmax", [n], axis=axis)

    def _new_reduce(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        kind = self._pick(["mean", "sum", "amax"])
        if len(shape) > 1:
            self._add("reduce", [n], axis=axis, kind=kind, keep=self.draw(st.booleans()))

    def _new_reshape(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        sizes, at = list(shape), axis - 1
        factors = [f for f in range(2, sizes[at]) if sizes[at] % f == 0]
        if at + 1 < len(sizes) and self.draw(st.booleans()):
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif factors and len(sizes) < _MOST_AXES:
            inner = self._pick(factors)
            sizes[at : at + 1] = [sizes[at] // inner, inner]
        else:
            # All of it laid out anew.
            outer = self._pick([f for f in range(1, prod(sizes) + 1) if prod(sizes) % f == 0])
            sizes = [outer, prod(sizes) // outer]
        self._add("reshape", [n], shape=tuple(sizes))

    def _new_permute(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        order = self.draw(st.permutations(range(1, len(shape) + 1)))
        self._add("permute", [n], order=tuple(order))

    def _new_cut(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = shape[axis - 1]
        if size > 1:
            low = self._pick(range(size))
            high = self._pick(range(low + 1, size + 1))
            step = self._pick([1, 1, 1, 2])
            self._add("cut", [n], axis=axis, low=low, high=size if step == 2 else high, step=step)

    def _new_select(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) > 1:
            self._add("select", [n], axis=axis, index=self._pick(range(shape[axis - 1])))

    def _new_chunk(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = shape[axis - 1]
        if size > 1:
            self._add("chunk", [n], axis=axis, parts=self._pick([p for p in (2, 3) if p <= size]))

    def _new_glu(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] % 2 == 0:
            self._add("glu", [n], axis=axis)

    def _new_join(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        fits = [
            m
            for m, other in enumerate(self.shapes)
            if len(other) == len(shape)
            and other[: axis - 1] == shape[: axis - 1]
            and other[axis:] == shape[axis:]
        ]
        other = self._pick(fits)
        if prod(shape) + prod(self.shapes[other]) <= _MOST:
            pair = self._pick([[n, other], [other, n]])
            alike = self.shapes[other] == shape and len(shape) < _MOST_AXES
            name = self._pick(["cat", "stack"]) if alike else "cat"
            self._add(name, pair, axis=axis)

    def _new_combine(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        def broadcasts(other: tuple[int, ...]) -> bool:
            pairs = zip(other[::-1], shape[::-1], strict=False)
            return len(other) == len(shape) and all(a in (1, b) for a, b in pairs)

        fits = [m for m, other in enumerate(self.shapes) if broadcasts(other)]
        self._add(self._pick(["add", "add", "mul"]), [n, self._pick(fits)])

    def _new_contract(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        m = self._pick(range(1, len(self.shapes)) if len(self.shapes) > 1 else [0])
        other, size = self.shapes[m], shape[axis - 1]
        if size not in other:
            return
        left = "cdefg"[: len(shape)]
        right = ["hijkl"[i] for i in range(len(other))]
        right[self._pick([i for i, s in enumerate(other) if s == size])] = left[axis - 1]
        kept = [c for c in left if c != left[axis - 1]] + [c for c in right if c not in left]
        for c in list(kept):  # some axes are shared instead of crossed
            at = left.find(c)
            if at >= 0 and self.draw(st.booleans()):
                same = [i for i, s in enumerate(other) if s == shape[at] and right[i] in kept]
                if same and right[same[0]] not in left:
                    kept.remove(right[same[0]])
                    right[same[0]] = c
        if self.draw(st.booleans()):
            kept = [left[axis - 1], *kept]  # a batch axis, not a contracted one
        sizes = dict(zip([*left, *right], [*shape, *other], strict=True))
        if kept and prod(sizes[c] for c in kept) <= _MOST and len(kept) <= _MOST_AXES:
            equation = f"b{left},b{''.join(right)}->b{''.join(kept)}"
            self._add("contract", [n, m], equation=equation)

    def _new_weigh(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        left = "cdefg"[: len(shape)]
        batch = [c for c in left if c != left[axis - 1] and self.draw(st.integers(0, 2)) == 0]
        new = self._pick([2, 3, 4])
        sizes = dict(zip(left, shape, strict=True))
        weight = [sizes[c] for c in batch]
        if prod(shape) // shape[axis - 1] * new <= _MOST:
            parameter = self._parameter(*weight, new, shape[axis - 1])
            right = "".join(batch) + "n" + left[axis - 1]
            equation = f"b{left},{right}->b{left.replace(left[axis - 1], 'n')}"
            self._add("weigh", [n], [parameter], equation=equation)

    def _new_conv(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) != 2:
            return
        channels, length = shape
        groups = self._pick([g for g in range(1, channels + 1) if channels % g == 0])
        each = self._pick([1, 2])
        kernel = self._pick([k for k in (1, 3) if k <= length])
        if groups * each * length <= _MOST:
            weight = self._parameter(groups * each, channels // groups, kernel)
            bias = self._parameter(groups * each)
            self._add("conv", [n], [weight, bias], groups=groups, padding=kernel // 2)

    def _new_attention(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) == 3:
            alike = [m for m, s in enumerate(self.shapes) if s == shape]
            reads = [n, self._pick(alike), self._pick(alike)]
            self._add("attention", reads, causal=self._pick([False, False, True]))

    def _new_pad(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        low, high = self._pick([(1, 1), (0, 2), (2, 1)])
        if prod(shape) // shape[axis - 1] * (shape[axis - 1] + low + high) <= _MOST:
            self._add("pad", [n], axis=axis, low=low, high=high)

    def _new_spread(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if 2 * prod(shape) <= _MOST and len(shape) < _MOST_AXES:
            self._add("spread", [n], axis=axis, size=2)

    def _new_repeat(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if 2 * prod(shape) <= _MOST:
            self._add("repeat", [n], axis=axis, times=2, interleave=self.draw(st.booleans()))

    def _new_turn(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("turn", [n], axis=axis, kind=self._pick(["roll", "flip", "cumsum"]))

    def _new_write(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        fits = [
            m
            for m, other in enumerate(self.shapes)
            if len(other) == len(shape)
            and other[: axis - 1] == shape[: axis - 1]
            and other[axis:] == shape[axis:]
            and other[axis - 1] <= shape[axis - 1]
        ]
        other = self._pick(fits)
        low = self._pick(range(shape[axis - 1] - self.shapes[other][axis - 1] + 1))
        self._add("write", [n, other], axis=axis, low=low)

    def _new_recurrent(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        both, units = self.draw(st.booleans()), self._pick([2, 3])
        if len(shape) == 2 and shape[0] * units * (1 + both) <= _MOST:
            rows = 4 * units
            each = [(rows, shape[1]), (rows, units), (rows,), (rows,)]
            self._add("recurrent", [n], [self._parameter(*s) for s in each * (1 + both)], both=both)


@st.composite
def programs(draw: Any, most: int = 10) -> tuple[Any, ...]:
    """Arguments of a :class:`Program`."""
    writer = _Writer(draw)
    for _ in range(draw(st.integers(1, most))):
        writer.step()
    return writer.width, tuple(writer.steps), tuple(writer.parameters)
