"""Find the products with weights in a captured graph whose units REPAIR can rescale."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor, fx

from zooalign.graph.capture import Capture

__all__ = [
    "PASSING",
    "Layer",
    "axis_order",
    "find_layers",
    "packet",
    "stored_behind",
    "weight_uses",
]

#: Operators that return their first argument's values in eval mode.
PASSING = {"aten.dropout", "aten.contiguous", "aten.clone", "aten.alias", "aten.feature_dropout"}
_BATCH_NORMS = ("aten.batch_norm", "aten._native_batch_norm", "aten.native_batch_norm")
_TURNED = {"aten.t", "aten.transpose", "aten.permute", "aten.numpy_T", "aten.swapaxes"}
_RAW = {"aten.matmul", "aten.mm", "aten.bmm", "aten.einsum"}


@dataclass(frozen=True)
class _Product:
    """A call that multiplies activations by a weight: a :class:`Layer` with nodes for names."""

    node: fx.Node
    weight: fx.Node
    bias: object
    weight_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class Layer:
    """A call whose output units are slices of one weight.

    Attributes
    ----------
    node:
        Whose value holds the units: the call, or the addition of the bias behind it.
    weight, bias:
        State-dict names; ``bias`` is None where there is none.
    weight_axes:
        Axes of the weight that hold the units: almost always one.
    groups:
        1, or for a grouped transposed convolution its groups: the weight is then
        (in, out / groups, ...), and the units of group g are in slice g of axis 0.
    output_axes:
        For each of ``weight_axes`` the axis of the output, counted from the end. Statistics of
        units are row-major over these.
    """

    node: fx.Node
    weight: str
    bias: str | None
    weight_axes: tuple[int, ...]
    groups: int
    output_axes: tuple[int, ...]

    def rows(self, output: Tensor) -> Tensor:
        """The output as a matrix with one row per unit."""
        count = len(self.output_axes)
        front = output.movedim(self.output_axes, tuple(range(count)))
        return front.reshape(prod(front.shape[:count]), -1)

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """The weight with unit i multiplied by ``scale[i]``."""
        if self.groups == 1:
            return weight * _laid(scale, self.weight_axes, weight.shape)
        grouped = weight.view(self.groups, -1, *weight.shape[1:])
        factors = scale.view(self.groups, 1, weight.shape[1], *[1] * (weight.dim() - 2))
        return (grouped * factors).view(weight.shape)

    def corrected(self, output: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Scale and shift each unit of an output, in place."""
        axes = tuple(axis % output.dim() for axis in self.output_axes)
        output.mul_(_laid(scale.to(output), axes, output.shape))
        output.add_(_laid(shift.to(output), axes, output.shape))

    def moved(self, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """A bias of any shape with unit i multiplied by ``scale[i]`` and moved by ``shift[i]``."""
        if len(self.output_axes) > 1:  # the bias has them in the output's order
            order = sorted(range(len(self.output_axes)), key=lambda n: self.output_axes[n])
            sizes = [bias.shape[axis] if -axis <= bias.dim() else 1 for axis in self.output_axes]
            scale, shift = (x.view(sizes).permute(order) for x in (scale, shift))
        return bias * scale.reshape(bias.shape) + shift.reshape(bias.shape)


def _laid(values: Tensor, axes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Values, row-major over ``axes`` in their order, to be broadcast over a tensor's shape."""
    sizes = [shape[a] for a in axes]
    order = sorted(range(len(axes)), key=lambda n: axes[n])
    broadcast = [shape[a] if a in axes else 1 for a in range(len(shape))]
    return values.view(sizes).permute(order).reshape(broadcast)


def find_layers(captured: Capture) -> tuple[tuple[Layer, ...], tuple[tuple[str, str], ...]]:
    """The layers to repair in graph order, and (name, reason) for every other product.

    Repaired is a linear layer, a convolution, or a matrix product or einsum with a weight, whose
    weight and bias are parameters used nowhere else; unless only batch normalisations read its
    output (recomputing their statistics has the same effect) or no weight comes after it (it is the
    network's output).
    """
    uses = weight_uses(captured)
    last = _without_weight_below(captured)
    layers: list[Layer] = []
    skipped: list[tuple[str, str]] = []
    for node in captured.graph.nodes:
        call = _product_of(captured, node)
        if call is None:
            matrix_product = packet(node) in _RAW | {"aten.baddbmm"}
            if matrix_product and any(_matrix(captured, n) for n in node.all_input_nodes):
                skipped.append((node.name, f"{node.target} is not a product with a whole weight"))
            continue
        weight = captured.parameters.get(call.weight.name)
        bias = captured.parameters.get(call.bias.name) if isinstance(call.bias, fx.Node) else None
        reason = _obstacle(captured, call, weight, bias, uses, last)
        if reason is not None:
            skipped.append((weight or node.name, reason))
        elif weight is not None:
            layers.append(
                Layer(call.node, weight, bias, call.weight_axes, call.groups, call.output_axes)
            )
    return tuple(layers), tuple(skipped)


def _obstacle(
    captured: Capture,
    call: _Product,
    weight: str | None,
    bias: str | None,
    uses: Counter[str],
    last: set[fx.Node],
) -> str | None:
    if weight is None or weight not in captured.trainable:
        return "its weight is computed, not a parameter"
    if isinstance(call.bias, fx.Node) and bias not in captured.trainable:
        return "its bias is computed, not a parameter"
    direct = call.bias in call.node.all_input_nodes and packet(call.node) != "aten.add"
    if bias is not None and direct and len(captured.shapes[bias]) != 1:
        return "its bias is not one number per unit"
    for name in (weight, bias):
        if name is not None and uses[captured.tied.get(name, name)] > 1:
            return f"'{name}' is used more than once"
    if _normalised_next(call.node):
        return "a batch normalisation follows it: reset its statistics"
    if call.node in last:
        return "it is the network's output"
    return None


def weight_uses(captured: Capture) -> Counter[str]:
    """How often each tensor of the state dict is read, tied names counted together."""
    uses: Counter[str] = Counter()
    for node in captured.graph.nodes:
        name = captured.parameters.get(node.name) if node.op == "placeholder" else None
        if name is not None:
            uses[captured.tied.get(name, name)] += len(node.users)
    return uses


def _matrix(captured: Capture, node: fx.Node) -> bool:
    """Whether a node is a weight matrix of the state dict, itself or through views."""
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    return _is_weight(captured, node)


def _without_weight_below(captured: Capture) -> set[fx.Node]:
    """Nodes whose value reaches the output without meeting a weight matrix."""
    weighted_below: dict[fx.Node, bool] = {}
    for node in reversed(captured.graph.nodes):
        weighted_below[node] = any(
            weighted_below[user]
            or (
                user.op == "call_function"
                and any(_matrix(captured, n) for n in user.all_input_nodes)
            )
            for user in node.users
        )
    return {node for node, below in weighted_below.items() if not below}


def _normalised_next(node: fx.Node) -> bool:
    """Whether nothing but batch normalisations reads a value."""
    return bool(node.users) and all(
        packet(user).startswith(_BATCH_NORMS)
        or (packet(user) in PASSING and _normalised_next(user))
        for user in node.users
    )


def packet(node: fx.Node) -> str:
    """Operator without its overload: ``aten.linear``."""
    return str(node.target).rpartition(".")[0] if node.op == "call_function" else ""


def _product_of(captured: Capture, node: fx.Node) -> _Product | None:
    """The product a call is, with the addition of a bias that follows it; None for others."""
    product = _call(node) or _raw(captured, node)
    if product is None or product.bias is not None:
        return product
    return _with_bias(captured, product)


def _call(node: fx.Node) -> _Product | None:
    """Linear layers and convolutions."""
    name = packet(node)
    arguments = dict(enumerate(node.args))
    weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    groups, weight_axis, output_axis = 1, 0, -1
    if name == "aten.addmm" and not node.kwargs:
        weight, bias, weight_axis = arguments.get(2), arguments.get(0), 1
    elif name.startswith(("aten.conv1d", "aten.conv2d", "aten.conv3d")):
        output_axis = -1 - int(name[-2])
    elif name.startswith("aten.conv_transpose"):
        given = arguments.get(6, node.kwargs.get("groups", 1))
        groups = given if isinstance(given, int) else 1
        weight_axis, output_axis = 1, -1 - int(name[-2])
    elif name != "aten.linear":
        return None
    if not isinstance(weight, fx.Node):
        return None
    turned = stored_behind(weight) if name in ("aten.linear", "aten.addmm") else None
    if turned is not None:
        weight, order = turned
        weight_axis = order[weight_axis]
    return _Product(node, weight, bias, (weight_axis,), (output_axis,), groups)


def _raw(captured: Capture, node: fx.Node) -> _Product | None:
    """Matrix products and einsum with a weight as it is."""
    name = packet(node)
    if name not in _RAW or node.kwargs:
        return None
    operands: list[fx.Node] = _listed(node.args[1] if name == "aten.einsum" else node.args)
    if len(operands) != 2 or not all(isinstance(x, fx.Node) for x in operands):
        return None
    turned = [stored_behind(x) for x in operands]
    weights = [n for n, t in enumerate(turned) if t and _is_weight(captured, t[0])]
    if len(weights) != 1:
        return None
    number = weights[0]
    weight, order = turned[number] or (operands[number], [])
    if name == "aten.einsum":
        axes = _letters(str(node.args[0]), number)
    else:
        axes = _matrix_axes(len(order), _ndim(operands[1 - number]), number)
    if not axes:
        return None
    ndim = _ndim(node)
    output = tuple(o if o < 0 else o - ndim for _, o in axes)
    return _Product(node, weight, None, tuple(order[w] for w, _ in axes), output)


def _matrix_axes(weight: int, other: int, number: int) -> list[tuple[int, int]]:
    """(weight axis, output axis) of ``other @ weight``, or ``weight @ other`` for number 0."""
    if weight == 2:
        return [(1, -1)] if number else [(0, -2 if other > 1 else -1)]
    if weight == 3 and other == 3:  # one matrix for each first position
        return [(0, -3), (2, -1)] if number else [(0, -3), (1, -2)]
    return []


def _letters(equation: str, number: int) -> list[tuple[int, int]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    term = left.split(",")[number]
    if not arrow or "." in term or len(set(term)) < len(term):
        return []
    head, dots, tail = right.partition("...")
    axes = []
    for axis, letter in enumerate(term):
        if letter in head:
            axes.append((axis, head.index(letter) - (0 if dots else len(head))))
        elif letter in tail:
            axes.append((axis, tail.index(letter) - len(tail)))
    return axes


def stored_behind(node: fx.Node) -> tuple[fx.Node, list[int]] | None:
    """The stored tensor behind transpositions, and which of its axes each axis is."""
    steps = []
    while packet(node) in _TURNED:
        steps.append(node)
        node = node.all_input_nodes[0]
    if node.op != "placeholder" or any(len(n.users) > 1 for n in steps):
        return None
    order = list(range(_ndim(node)))
    for step in reversed(steps):
        order = [order[axis] for axis in axis_order(step) or ()]
    return node, order


def axis_order(node: fx.Node) -> list[int] | None:
    """Which axis of its operand each axis of a transposition is; None for other operators."""
    if packet(node) not in _TURNED:
        return None
    count = _ndim(node)
    if packet(node) == "aten.permute":
        return [axis % count for axis in _listed(node.args[1])]
    order = list(range(count))
    if packet(node) in ("aten.t", "aten.numpy_T"):
        return order[::-1]
    a, b = _listed(node.args[1:3])
    order[a], order[b] = order[b], order[a]
    return order


def _with_bias(captured: Capture, product: _Product) -> _Product:
    """The product with the addition of one number per unit, where that is all that reads it."""
    users = list(product.node.users)
    if len(users) != 1 or packet(users[0]) != "aten.add" or users[0].kwargs:
        return product
    others = [x for x in users[0].args if x is not product.node]
    bias = others[0] if len(others) == 1 else None
    if (
        not isinstance(bias, fx.Node)
        or captured.parameters.get(bias.name) not in captured.trainable
    ):
        return product
    shape, ndim = tuple(bias.meta["val"].shape), _ndim(users[0])
    bias_axes = {a - len(shape) for a, n in enumerate(shape) if n > 1}
    sizes = users[0].meta["val"].shape
    units = {axis for axis in product.output_axes if sizes[axis] > 1}
    if bias_axes != units or _ndim(product.node) != ndim:
        return product
    return replace(product, node=users[0], bias=bias)


def _is_weight(captured: Capture, node: fx.Node) -> bool:
    """Whether a node is a weight matrix of the state dict."""
    name = captured.parameters.get(node.name) if node.op == "placeholder" else None
    return name in captured.trainable and len(captured.shapes[str(name)]) >= 2


def _ndim(node: fx.Node) -> int:
    return len(node.meta["val"].shape)


def _listed(value: Any) -> list[Any]:
    return list(value)
