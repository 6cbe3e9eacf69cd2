"""Find the products with weights in a captured graph whose units REPAIR can rescale."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, fx

from zooalign.graph.capture import Capture
from zooalign.merging.products import Product, is_product, packet, product_of

__all__ = ["Layer", "find_layers"]

# Operators that return their first argument's values in eval mode.
_PASSING = {"aten.dropout", "aten.contiguous", "aten.clone", "aten.alias", "aten.feature_dropout"}
_BATCH_NORMS = ("aten.batch_norm", "aten._native_batch_norm", "aten.native_batch_norm")


@dataclass(frozen=True)
class Layer:
    """A call whose output units are slices of one weight.

    Attributes
    ----------
    node:
        The call, or the addition of the bias behind it.
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
            sizes = self._sizes(bias)
            scale, shift = (x.view(sizes).permute(order) for x in (scale, shift))
        return bias * scale.reshape(bias.shape) + shift.reshape(bias.shape)

    def _sizes(self, bias: Tensor) -> list[int]:
        return [bias.shape[axis] if -axis <= bias.dim() else 1 for axis in self.output_axes]


def _laid(values: Tensor, axes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Values, row-major over ``axes`` in their order, to be broadcast over a tensor's shape."""
    sizes = [shape[a] for a in axes]
    order = sorted(range(len(axes)), key=lambda n: axes[n])
    wide = [shape[a] if a in axes else 1 for a in range(len(shape))]
    return values.view(sizes).permute(order).reshape(wide)


def find_layers(captured: Capture) -> tuple[tuple[Layer, ...], tuple[tuple[str, str], ...]]:
    """The layers to repair in graph order, and (name, reason) for every other product.

    Repaired is a linear layer, a convolution, or a matrix product or einsum with a weight, whose
    weight and bias are parameters used nowhere else; unless only batch normalisations read its
    output (recomputing their statistics has the same effect) or no weight comes after it (it is the
    network's output).
    """
    uses = _uses(captured)
    last = _without_weight_below(captured)
    layers: list[Layer] = []
    skipped: list[tuple[str, str]] = []
    for node in captured.graph.nodes:
        call = product_of(captured, node)
        if call is None:
            if is_product(node) and any(_matrix(captured, n) for n in node.all_input_nodes):
                skipped.append((node.name, f"{node.target} is no product with a weight as it is"))
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
    call: Product,
    weight: str | None,
    bias: str | None,
    uses: dict[str, int],
    last: set[fx.Node],
) -> str | None:
    if weight is None or weight not in captured.trainable:
        return "its weight is computed, not a parameter"
    if isinstance(call.bias, fx.Node) and bias not in captured.trainable:
        return "its bias is computed, not a parameter"
    direct = call.bias in call.node.all_input_nodes and packet(call.node) != "aten.add"
    if bias is not None and direct and len(captured.shapes[bias]) != 1:
        return "its bias is not one number a unit"
    for name in (weight, bias):
        if name is not None and uses[captured.tied.get(name, name)] > 1:
            return f"'{name}' is used more than once"
    if _normalised_next(call.node):
        return "a batch normalisation follows it: reset its statistics"
    if call.node in last:
        return "it is the network's output"
    return None


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
    """Whether nothing but batch normalisations reads a value."""
    return bool(node.users) and all(
        packet(user).startswith(_BATCH_NORMS)
        or (packet(user) in _PASSING and _normalised_next(user))
        for user in node.users
    )
