"""Products of activations with a parameter, each as one matrix product per group.

A product is ``outputs = rows @ matrix`` for every group: ``rows`` are the activations it reads at
sampled output positions, ``matrix`` its weight. Linear layers, matrix products and einsum have
letters for axes; a convolution's rows are patches.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as combinations
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from zooalign.graph.capture import Capture
from zooalign.merging.layers import packet, stored_behind
from zooalign.merging.refit.samples import Samples

__all__ = ["Product", "parameter_behind", "product_of"]

_MATRIX = ("aten.matmul", "aten.mm", "aten.bmm")


@dataclass(frozen=True, eq=False)
class Product(ABC):
    """A call that multiplies activations by a weight.

    ``weight`` is the argument, whose axes are those of the stored tensor of this ``name`` in this
    ``order``; ``bias`` is the argument, if the call takes one. ``size`` has the groups, inputs and
    outputs of the matrix.
    """

    node: fx.Node
    input: fx.Node
    weight: fx.Node
    name: str
    order: tuple[int, ...]
    bias: fx.Node | None
    size: tuple[int, int, int]

    @abstractmethod
    def rows(self, x: Tensor, samples: Samples) -> Tensor:
        """What is multiplied, at sampled positions: (rows, groups, inputs)."""

    @abstractmethod
    def outputs(self, value: Tensor, samples: Samples) -> Tensor:
        """A value of the product's shape, at sampled positions: (rows, groups, outputs).

        Its rows may lie on several axes.
        """

    @abstractmethod
    def positions(self, batch: int) -> tuple[int, int]:
        """How many samples there are in a batch, and positions in each."""

    @property
    @abstractmethod
    def unit_axes(self) -> tuple[int, ...]:
        """Axes of the product's value that hold its outputs, groups among them."""

    def per_unit(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape, added to the value, has one number per output."""
        value = tuple(self.node.meta["val"].shape)
        behind = len(value) - len(shape)
        wanted = [value[a] if a in self.unit_axes else 1 for a in range(len(value))]
        return behind >= 0 and [1] * behind + list(shape) == wanted

    @abstractmethod
    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight as called: (groups, inputs, outputs)."""

    @abstractmethod
    def _weight(self, matrix: Tensor) -> Tensor:
        """The weight as called, of a matrix."""

    @abstractmethod
    def units(self, per_unit: Tensor) -> Tensor:
        """One number per output of each group, to be broadcast over the product's value."""

    def matrix(self, stored: Tensor) -> Tensor:
        """The stored weight as (groups, inputs, outputs)."""
        return self._matrix(stored.permute(self.order))

    def called(self, matrix: Tensor) -> Tensor:
        """The weight as it is an argument of the call."""
        return self._weight(matrix)

    def stored(self, matrix: Tensor) -> Tensor:
        """The weight as it is in the state dict."""
        inverse = sorted(range(len(self.order)), key=lambda n: self.order[n])
        return self._weight(matrix).permute(inverse).contiguous()


@dataclass(frozen=True, eq=False)
class _Letters(Product):
    """A product with a letter for each axis, of the input, the weight as called and the output."""

    x: tuple[str, ...]
    w: tuple[str, ...]
    out: tuple[str, ...]
    sizes: Mapping[str, int]

    @property
    def _groups(self) -> list[str]:
        return [a for a in self.w if a in self.x and a in self.out]

    @property
    def _inputs(self) -> list[str]:
        return [a for a in self.w if a not in self.out]

    @property
    def _units(self) -> list[str]:
        return [a for a in self.w if a not in self.x]

    def _positions(self, batch: int) -> list[str]:
        """Axes of positions; that of the batch first."""
        axes = [a for a in self.x if a not in self.w]
        first = next((a for a in axes if self.sizes[a] == batch), None)
        return axes if first is None else [first, *(a for a in axes if a != first)]

    def positions(self, batch: int) -> tuple[int, int]:
        sizes = [self.sizes[a] for a in self._positions(batch)]
        count = prod(sizes)
        return (batch, count // batch) if sizes and sizes[0] % batch == 0 else (count, 1)

    @property
    def unit_axes(self) -> tuple[int, ...]:
        return tuple(n for n, a in enumerate(self.out) if a in self.w)

    def rows(self, x: Tensor, samples: Samples) -> Tensor:
        return self._laid(x, self.x, self._inputs, samples)

    def outputs(self, value: Tensor, samples: Samples) -> Tensor:
        as_given = value.reshape([self.sizes[a] for a in self.out])
        return self._laid(as_given, self.out, self._units, samples)

    def _laid(
        self, value: Tensor, axes: Sequence[str], last: Sequence[str], samples: Samples
    ) -> Tensor:
        order = [*self._positions(samples.batch), *self._groups, *last]
        sizes = [prod(self.sizes[a] for a in part) for part in (self._groups, last)]
        laid = value.permute([axes.index(a) for a in order])
        return samples.of(laid.reshape(*self.positions(samples.batch), *sizes))

    def _matrix(self, weight: Tensor) -> Tensor:
        order = [*self._groups, *self._inputs, *self._units]
        return weight.permute([self.w.index(a) for a in order]).reshape(self.size)

    def _weight(self, matrix: Tensor) -> Tensor:
        order = [*self._groups, *self._inputs, *self._units]
        laid = matrix.reshape([self.sizes[a] for a in order])
        return laid.permute([order.index(a) for a in self.w])

    def units(self, per_unit: Tensor) -> Tensor:
        order = [*self._groups, *self._units]
        laid = per_unit.reshape([self.sizes[a] for a in order])
        axes = [a for a in self.out if a in order]
        shape = [self.sizes[a] if a in order else 1 for a in self.out]
        return laid.permute([order.index(a) for a in axes]).reshape(shape)


@dataclass(frozen=True, eq=False)
class _Convolution(Product):
    """A convolution over the axes behind the channels; ``padding`` is before and after each."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    kernel: tuple[int, ...]
    spatial: tuple[int, ...]

    @property
    def unit_axes(self) -> tuple[int, ...]:
        return (1,)

    def positions(self, batch: int) -> tuple[int, int]:
        return batch, prod(self.spatial)

    def rows(self, x: Tensor, samples: Samples) -> Tensor:
        groups, inputs, _ = self.size
        if not samples.chunks:
            return x.new_zeros(0, groups, inputs)
        padded = F.pad(x, [n for pair in reversed(self.padding) for n in pair])
        parts = []
        for chosen, positions in samples.chunks:
            index: list[Tensor] = []
            places = torch.unravel_index(positions, self.spatial)
            for axis, place in enumerate(places):
                offsets = torch.tensor([o[axis] for o in self._offsets()], device=place.device)
                at = place * self.stride[axis]
                index.append((at[:, None] + offsets * self.dilation[axis]).to(x.device))
            # (samples, channels, positions, kernel) -> (samples, positions, channels, kernel)
            patches = torch.ops.aten.index(padded[chosen.to(x.device)], [None, None, *index])
            parts.append(patches.transpose(1, 2).reshape(-1, groups, inputs))
        return torch.cat(parts)

    def _offsets(self) -> list[tuple[int, ...]]:
        return list(combinations(*(range(k) for k in self.kernel)))

    def outputs(self, value: Tensor, samples: Samples) -> Tensor:
        laid = value.flatten(2).transpose(1, 2)
        return samples.of(laid.reshape(*laid.shape[:2], self.size[0], self.size[2]))

    def _matrix(self, weight: Tensor) -> Tensor:
        groups, inputs, outputs = self.size
        return weight.reshape(groups, outputs, inputs).transpose(1, 2)

    def _weight(self, matrix: Tensor) -> Tensor:
        groups, inputs, outputs = self.size
        channels = inputs // prod(self.kernel)
        return matrix.transpose(1, 2).reshape(groups * outputs, channels, *self.kernel)

    def units(self, per_unit: Tensor) -> Tensor:
        return per_unit.reshape(-1, *[1] * len(self.kernel))


def product_of(captured: Capture, node: fx.Node) -> Product | str | None:
    """The product that a call is; a reason where it has a weight and is none; None for others."""
    name = packet(node)
    if name.startswith("aten.conv_transpose"):
        return "it is a transposed convolution, whose outputs overlap"
    if name.startswith(("aten.conv1d", "aten.conv2d", "aten.conv3d")):
        return _convolution(captured, node)
    if name == "aten.linear":
        x, weight = node.args[:2]
        rows = _names(_ndim(x) - 1)
        return _lettered(captured, node, (x, weight), ([*rows, "i"], ["o", "i"], [*rows, "o"]))
    if name == "aten.addmm":
        return _lettered(captured, node, node.args[1:3], (["r", "i"], ["i", "o"], ["r", "o"]))
    if name in _MATRIX and len(node.args) == 2:
        left, right = (_names(_ndim(x) - 2) for x in node.args)
        if min(_ndim(x) for x in node.args) < 2:
            return _reason(captured, node, node.args, "it is a product with a vector")
        letters = [*left, "r", "i"], [*right, "i", "o"], [*_names(_ndim(node) - 2), "r", "o"]
        return _lettered(captured, node, node.args, letters)
    if name == "aten.einsum":
        return _einsum(captured, node)
    return None


def _einsum(captured: Capture, node: fx.Node) -> Product | str | None:
    operands: Any = node.args[1]
    left, arrow, right = str(node.args[0]).replace(" ", "").partition("->")
    terms = left.split(",")
    if len(operands) != 2 or not arrow:
        return _reason(captured, node, operands, "its einsum has not two operands and a result")
    dots = max(_ndim(x) - len(t.replace(".", "")) for x, t in zip(operands, terms, strict=True))
    return _lettered(captured, node, operands, tuple(_expanded(t, dots) for t in (*terms, right)))


def _expanded(term: str, dots: int) -> list[str]:
    """Letters of a term; an ellipsis stands for some more."""
    head, found, tail = term.partition("...")
    return [*head, *(_names(dots) if found else []), *tail]


def _lettered(
    captured: Capture, node: fx.Node, operands: Any, letters: Any
) -> Product | str | None:
    """A product by its letters: of the two operands (either is the weight) and the result."""
    bias = node.args[2] if packet(node) == "aten.linear" and len(node.args) > 2 else None
    bias = node.args[0] if packet(node) == "aten.addmm" else node.kwargs.get("bias", bias)
    weights = [n for n, x in enumerate(operands) if _is_stored(captured, x)]
    if not weights:
        layer = packet(node) in ("aten.linear", "aten.addmm")
        computed = layer or any(parameter_behind(captured, x) for x in operands)
        return "its weight is computed, not a parameter" if computed else None
    if len(weights) == 2 or not isinstance(operands[1 - weights[0]], fx.Node):
        return None
    number = weights[0]
    stored = stored_behind(operands[number])
    assert stored is not None  # _is_stored
    x, w, out = tuple(letters[1 - number]), tuple(letters[number]), tuple(letters[2])
    shapes = [tuple(n.meta["val"].shape) for n in (operands[1 - number], operands[number], node)]
    sizes: dict[str, int] = {}
    for axes, shape in zip((x, w, out), shapes, strict=True):
        if len(set(axes)) < len(axes):
            return "its einsum names an axis twice"
        for axis, size in zip(axes, shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                return "an axis of its weight is broadcast"
    if any((a in x) + (a in w) + (a in out) < 2 for a in sizes):
        return "it sums an axis of one operand alone"
    groups, units = (prod(sizes[a] for a in w if a in out and (a in x) == g) for g in (True, False))
    inputs = prod(sizes[a] for a in w if a not in out)
    name = captured.parameters[stored[0].name]
    size = groups, inputs, units
    node_of_bias = bias if isinstance(bias, fx.Node) else None
    return _Letters(
        node,
        operands[1 - number],
        operands[number],
        name,
        tuple(stored[1]),
        node_of_bias,
        size,
        x,
        w,
        out,
        sizes,
    )


def _convolution(captured: Capture, node: fx.Node) -> Product | str | None:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    if not _is_stored(captured, weight):
        return "its weight is computed, not a parameter"
    stored = stored_behind(weight)
    assert stored is not None  # _is_stored
    shape = tuple(weight.meta["val"].shape)
    axes = len(shape) - 2
    if _ndim(x) != axes + 2:
        return "its input has no axis for the batch"
    stride, dilation = (_each(given.get(n, 1), axes) for n in ("stride", "dilation"))
    groups = given.get("groups", 1)
    padding = _padding(given.get("padding", 0), shape[2:], dilation)
    size = groups, prod(shape[1:]), shape[0] // groups
    spatial = tuple(node.meta["val"].shape[2:])
    return _Convolution(
        node,
        x,
        weight,
        captured.parameters[stored[0].name],
        tuple(stored[1]),
        bias if isinstance(bias, fx.Node) else None,
        size,
        stride,
        padding,
        dilation,
        shape[2:],
        spatial,
    )


def _padding(
    given: Any, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    if given == "valid":
        return tuple((0, 0) for _ in kernel)
    if given == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((n, n) for n in _each(given, len(kernel)))


def _each(value: Any, count: int) -> tuple[int, ...]:
    """One number for each axis."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values


def _names(count: int) -> list[str]:
    """Names of leading axes, numbered from the last one, so that they meet as in broadcasting."""
    return [f"r{n}" for n in range(max(count, 0), 0, -1)]


def _reason(captured: Capture, node: fx.Node, operands: Any, reason: str) -> str | None:
    """The reason, if an operand is a weight."""
    return reason if any(_is_stored(captured, x) for x in operands) else None


def _is_stored(captured: Capture, node: Any) -> bool:
    """Whether a node is a weight of the state dict, itself or transposed."""
    stored = stored_behind(node) if isinstance(node, fx.Node) else None
    name = captured.parameters.get(stored[0].name) if stored else None
    return name in captured.trainable and len(captured.shapes[str(name)]) >= 2


def parameter_behind(captured: Capture, node: Any) -> str | None:
    """The parameter that a node is, or is computed from alone."""
    while isinstance(node, fx.Node) and node.op == "call_function":
        if len(node.all_input_nodes) != 1:
            return None
        node = node.all_input_nodes[0]
    name = captured.parameters.get(node.name) if isinstance(node, fx.Node) else None
    return name if name in captured.trainable else None


def _ndim(node: Any) -> int:
    return len(node.meta["val"].shape) if isinstance(node, fx.Node) else 0
