"""Find the linear and convolution calls of a captured graph whose units REPAIR can rescale."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from zooalign.graph.capture import Capture

__all__ = ["Layer", "find_layers"]

# Operators that return their first argument's values in eval mode.
_PASSING = {"aten.dropout", "aten.contiguous", "aten.clone", "aten.alias", "aten.feature_dropout"}
_BATCH_NORMS = ("aten.batch_norm", "aten._native_batch_norm", "aten.native_batch_norm")
_OTHER_PRODUCTS = {"aten.matmul", "aten.mm", "aten.bmm", "aten.baddbmm", "aten.einsum"}


@dataclass(frozen=True)
class Layer:
    """A call whose output units are rows of one weight.

    Attributes
    ----------
    node:
        The call.
    weight, bias:
        State-dict names; ``bias`` is None where the call has none.
    weight_axis:
        Axis of the weight that holds the units.
    groups:
        1, or for a grouped transposed convolution its groups: the weight is then
        (in, out / groups, ...), and the units of group g are in slice g of axis 0.
    output_axis:
        Axis of the output that holds the units, counted from the end.
    """

    node: fx.Node
    weight: str
    bias: str | None
    weight_axis: int
    groups: int
    output_axis: int

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """The weight with unit i multiplied by ``scale[i]``."""
        if self.groups == 1:
            shape = [1] * weight.dim()
            shape[self.weight_axis] = -1
            return weight * scale.view(shape)
        grouped = weight.view(self.groups, -1, *weight.shape[1:])
        factors = scale.view(self.groups, 1, weight.shape[1], *[1] * (weight.dim() - 2))
        return (grouped * factors).view(weight.shape)


@dataclass(frozen=True)
class _Call:
    """Arguments of a product with a weight, by position."""

    weight: fx.Node
    bias: Any
    weight_axis: int
    groups: int
    output_axis: int


def find_layers(captured: Capture) -> tuple[tuple[Layer, ...], tuple[tuple[str, str], ...]]:
    """The layers to repair in graph order, and (name, reason) for every other product.

    Repaired is a linear or convolution call whose weight and bias are parameters used nowhere
    else, unless a batch normalisation directly follows it (recomputing its statistics has the
    same effect) or no weight comes after it (it is the network's output).
    """
    uses = _uses(captured)
    last = _without_weight_below(captured)
    layers: list[Layer] = []
    skipped: list[tuple[str, str]] = []
    for node in captured.graph.nodes:
        call = _call(node)
        if call is None:
            if _packet(node) in _OTHER_PRODUCTS and any(
                _matrix(captured, n) for n in node.all_input_nodes
            ):
                skipped.append((node.name, f"{node.target} is no linear or convolution call"))
            continue
        weight = captured.parameters.get(call.weight.name)
        bias = captured.parameters.get(call.bias.name) if isinstance(call.bias, fx.Node) else None
        reason = _obstacle(captured, node, call, weight, bias, uses, last)
        if reason is not None:
            skipped.append((weight or node.name, reason))
        elif weight is not None:
            layers.append(
                Layer(node, weight, bias, call.weight_axis, call.groups, call.output_axis)
            )
    return tuple(layers), tuple(skipped)


def _obstacle(
    captured: Capture,
    node: fx.Node,
    call: _Call,
    weight: str | None,
    bias: str | None,
    uses: dict[str, int],
    last: set[fx.Node],
) -> str | None:
    if weight is None or weight not in captured.trainable:
        return "its weight is computed, not a parameter"
    if isinstance(call.bias, fx.Node) and bias not in captured.trainable:
        return "its bias is computed, not a parameter"
    if bias is not None and len(captured.shapes[bias]) != 1:
        return "its bias is not one number a unit"
    for name in (weight, bias):
        if name is not None and uses[captured.tied.get(name, name)] > 1:
            return f"'{name}' is used more than once"
    if _normalised_next(node):
        return "a batch normalisation follows it: reset its statistics"
    if node in last:
        return "it is the network's output"
    return None


def _packet(node: fx.Node) -> str:
    """Operator without its overload: ``aten.linear``."""
    return str(node.target).rpartition(".")[0] if node.op == "call_function" else ""


def _call(node: fx.Node) -> _Call | None:
    packet = _packet(node)
    arguments = dict(enumerate(node.args))
    if packet == "aten.linear":
        axes = (0, 1, -1)
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    elif packet == "aten.addmm" and not node.kwargs:
        axes = (1, 1, -1)
        weight, bias = arguments.get(2), arguments.get(0)
    elif packet.startswith(("aten.conv1d", "aten.conv2d", "aten.conv3d")):
        axes = (0, 1, -1 - int(packet[-2]))
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    elif packet.startswith("aten.conv_transpose"):
        groups = arguments.get(6, node.kwargs.get("groups", 1))
        axes = (1, groups if isinstance(groups, int) else 1, -1 - int(packet[-2]))
        weight, bias = arguments.get(1), arguments.get(2, node.kwargs.get("bias"))
    else:
        return None
    return _Call(weight, bias, *axes) if isinstance(weight, fx.Node) else None


def _uses(captured: Capture) -> dict[str, int]:
    """How often each tensor of the state dict is read, tied names counted together."""
    uses: dict[str, int] = {}
    for node in captured.graph.nodes:
        name = captured.parameters.get(node.name) if node.op == "placeholder" else None
        if name is not None:
            root = captured.tied.get(name, name)
            uses[root] = uses.get(root, 0) + len(node.users)
    return uses


def _matrix(captured: Capture, node: fx.Node) -> bool:
    """Whether a node is a weight matrix of the state dict, itself or through views."""
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    name = captured.parameters.get(node.name) if node.op == "placeholder" else None
    return name in captured.trainable and len(captured.shapes[str(name)]) >= 2


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
    for user in node.users:
        if _packet(user).startswith(_BATCH_NORMS):
            return True
        if _packet(user) in _PASSING and _normalised_next(user):
            return True
    return False
