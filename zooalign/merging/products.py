"""Products of activations with a weight in a captured graph, and the axes their units lie on."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from zooalign.graph.capture import Capture

__all__ = ["Product", "is_product", "packet", "product_of"]

_TURNED = {"aten.t", "aten.transpose", "aten.permute", "aten.numpy_T", "aten.swapaxes"}
_RAW = {"aten.matmul", "aten.mm", "aten.bmm", "aten.einsum"}
_OTHERS = _RAW | {"aten.baddbmm"}


@dataclass(frozen=True)
class Product:
    """A call that multiplies activations by a weight.

    Attributes
    ----------
    node:
        Whose value holds the units: the call, or the addition of its bias.
    weight:
        The weight's placeholder.
    bias:
        The bias' placeholder, None where there is none.
    weight_axes, output_axes:
        Where the units lie in the weight and in the value, axis by axis; the latter counted from
        the end.
    groups:
        Of a transposed convolution.
    """

    node: fx.Node
    weight: fx.Node
    bias: Any
    weight_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    groups: int = 1


def packet(node: fx.Node) -> str:
    """Operator without its overload: ``aten.linear``."""
    return str(node.target).rpartition(".")[0] if node.op == "call_function" else ""


def is_product(node: fx.Node) -> bool:
    """Whether a call is a matrix product of two tensors, of which either may be a weight."""
    return packet(node) in _OTHERS


def product_of(captured: Capture, node: fx.Node) -> Product | None:
    """The product a call is, with the addition of a bias that follows it; None for others."""
    found = _call(node) or _raw(captured, node)
    if found is None or found.bias is not None:
        return found
    return _with_bias(captured, found)


def _call(node: fx.Node) -> Product | None:
    """Linear layers and convolutions."""
    name = packet(node)
    arguments = dict(enumerate(node.args))
    groups = 1
    if name == "aten.linear":
        axes = (0, -1)
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    elif name == "aten.addmm" and not node.kwargs:
        axes = (1, -1)
        weight, bias = arguments.get(2), arguments.get(0)
    elif name.startswith(("aten.conv1d", "aten.conv2d", "aten.conv3d")):
        axes = (0, -1 - int(name[-2]))
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    elif name.startswith("aten.conv_transpose"):
        given = arguments.get(6, node.kwargs.get("groups", 1))
        groups = given if isinstance(given, int) else 1
        axes = (1, -1 - int(name[-2]))
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    else:
        return None
    if not isinstance(weight, fx.Node):
        return None
    turned = _turned(weight) if name in ("aten.linear", "aten.addmm") else None
    stored, order = turned or (weight, None)
    at = axes[0] if order is None else order[axes[0]]
    return Product(node, stored, bias, (at,), (axes[1],), groups)


def _raw(captured: Capture, node: fx.Node) -> Product | None:
    """Matrix products and einsum with a weight as it is."""
    name = packet(node)
    if name not in _RAW or node.kwargs:
        return None
    operands: list[Any] = _listed(node.args[1] if name == "aten.einsum" else node.args)
    if len(operands) != 2 or not all(isinstance(x, fx.Node) for x in operands):
        return None
    turned = [_turned(x) for x in operands]
    weights = [n for n, t in enumerate(turned) if t and _is_weight(captured, t[0])]
    if len(weights) != 1:
        return None
    number = weights[0]
    stored, order = turned[number] or (operands[number], [])
    if name == "aten.einsum":
        axes = _letters(str(node.args[0]), number)
    else:
        axes = _matrix_axes(len(order), _ndim(operands[1 - number]), number)
    if not axes:
        return None
    ndim = _ndim(node)
    output = tuple(o if o < 0 else o - ndim for _, o in axes)
    return Product(node, stored, None, tuple(order[w] for w, _ in axes), output)


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
    found = []
    for axis, letter in enumerate(term):
        if letter in head:
            found.append((axis, head.index(letter) - (0 if dots else len(head))))
        elif letter in tail:
            found.append((axis, tail.index(letter) - len(tail)))
    return found


def _turned(node: fx.Node) -> tuple[fx.Node, list[int]] | None:
    """The stored tensor behind transpositions, and which of its axes each axis is."""
    steps = []
    while packet(node) in _TURNED:
        steps.append(node)
        node = node.all_input_nodes[0]
    if node.op != "placeholder" or any(len(n.users) > 1 for n in steps):
        return None
    order = list(range(_ndim(node)))
    for step in reversed(steps):
        if packet(step) == "aten.permute":
            order = [order[axis] for axis in _listed(step.args[1])]
        elif packet(step) in ("aten.t", "aten.numpy_T"):
            order = order[::-1]
        else:
            a, b = _listed(step.args[1:3])
            order[a], order[b] = order[b], order[a]
    return node, order


def _listed(value: Any) -> list[Any]:
    return list(value)


def _with_bias(captured: Capture, product: Product) -> Product:
    """The product with the addition of one number a unit, where that is all that reads it."""
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
    wide = {a - len(shape) for a, n in enumerate(shape) if n > 1}
    sizes = users[0].meta["val"].shape
    units = {axis for axis in product.output_axes if sizes[axis] > 1}
    if wide != units or _ndim(product.node) != ndim:
        return product
    return Product(
        users[0], product.weight, bias, product.weight_axes, product.output_axes, product.groups
    )


def _is_weight(captured: Capture, node: fx.Node) -> bool:
    name = captured.parameters.get(node.name)
    return name in captured.trainable and len(captured.shapes[str(name)]) >= 2


def _ndim(node: fx.Node) -> int:
    return len(node.meta["val"].shape)
