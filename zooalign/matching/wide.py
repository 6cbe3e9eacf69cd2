"""The same module with other widths, and where its computation first differs from the narrow one's.

A forward pass that names no width runs on wider parameters as it is. Whether it then computes
what it should is shown by running both, operator by operator, on random parameters in float64:
the units of the narrow model must have the same values in the wide one.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx, nn

from zooalign.errors import MergeError
from zooalign.graph.execute import steps
from zooalign.matching.places import COPIES, Place, activation_places, base_name
from zooalign.matching.resize import Slots, gather, placements, tensor_places
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Difference", "first_difference", "wide_shapes", "widened"]

_RELATIVE = 1e-7


@dataclass(frozen=True)
class Difference:
    """The first operator that tells the wide model from the narrow one.

    Attributes
    ----------
    operator:
        Its name, e.g. ``aten.layer_norm.default 'layer_norm'``.
    layer:
        Path of the module it is in.
    parameters:
        Tensors of the state dict that it reads.
    groups:
        Groups that differ in size and stand in its inputs or its result.
    """

    operator: str
    layer: str
    parameters: tuple[str, ...]
    groups: tuple[str, ...]

    def __str__(self) -> str:
        where = f" in '{self.layer}'" if self.layer else ""
        reads = f", with {', '.join(repr(p) for p in self.parameters)}" if self.parameters else ""
        return f"{self.operator}{where}{reads}"


def wide_shapes(spec: PermutationSpec, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the state dict with the named groups in other sizes (not nested ones)."""
    shapes = {name: list(shape) for name, shape in spec.shapes.items()}
    for name, places in tensor_places(spec).items():
        for place in places:
            if place.group in widths:
                more = widths[place.group] - spec.by_id[place.group].size
                shapes[name][place.axes[-1]] += more * place.positions.shape[1]
    return {name: tuple(shape) for name, shape in shapes.items()}


def widened(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A copy of a module with parameters and buffers of other shapes, filled with zeros.

    Sizes that torch's own layers note down follow (``out_features``, ``groups`` of a depthwise
    convolution, ...); those a forward pass names do not. Tensors of unchanged shape are copied.
    """
    tensors = [*module.parameters(), *module.buffers()]
    result = copy.deepcopy(module, {id(t): t for t in tensors})
    made: dict[int, Tensor] = {}
    for prefix, owner in result.named_modules(remove_duplicate=False):
        dot = f"{prefix}." if prefix else ""
        for kind in (owner._parameters, owner._buffers):
            for leaf, tensor in kind.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fresh = _resized(tensor, shapes.get(dot + leaf, tuple(tensor.shape)))
                    made[id(tensor)] = made[id(fresh)] = fresh
                kind[leaf] = made[id(tensor)]
    for layer in result.modules():
        _note_sizes(layer)
    return result.eval()


def _resized(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    same = tuple(tensor.shape) == shape
    value = tensor.detach().clone() if same else tensor.detach().new_zeros(shape)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(value, requires_grad=tensor.requires_grad)
    return value


def _note_sizes(layer: nn.Module) -> None:
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        return
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = weight.shape
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = weight.shape[0]
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        layer.normalized_shape = tuple(weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = weight.shape[0]
    elif isinstance(layer, nn.modules.conv._ConvNd):
        out, inside = (1, 0) if layer.transposed else (0, 1)
        if layer.groups == layer.in_channels == layer.out_channels:  # depthwise
            layer.groups = weight.shape[0]
        layer.out_channels = weight.shape[out] * (layer.groups if layer.transposed else 1)
        layer.in_channels = weight.shape[inside] * (1 if layer.transposed else layer.groups)


def first_difference(
    narrow: Derived,
    wide: Derived,
    state: Mapping[str, Tensor],
    wide_state: Mapping[str, Tensor],
    slots: Slots,
    inputs: Sequence[Any],
) -> Difference | None:
    """The first operator whose narrow units have other values in the wide model, or None.

    Both graphs run side by side in float64. Views and copies are passed over, and what cannot be
    compared: their readers show the same difference, the outputs at last.

    Raises
    ------
    MergeError
        If the graphs are not of the same operators.
    """
    sides = (activation_places(narrow, "all"), activation_places(wide, "all"))
    runs = (
        steps(narrow.traced.captured, state, inputs, dtype=torch.float64),
        steps(wide.traced.captured, wide_state, inputs, dtype=torch.float64),
    )
    for left, right in zip_longest(*runs):
        if left is None or right is None or _operator(left[0]) != _operator(right[0]):
            raise MergeError("the two architectures differ in more than widths: their graphs")
        (node, a), (other, b) = left, right
        if node.op == "placeholder" or base_name(str(node.target)) in COPIES:
            continue
        places = (sides[0].get(node.name, []), sides[1].get(other.name, []))
        values = list(zip(_tensors(a), _tensors(b), strict=True))
        if node.op == "output" and any(x.shape != y.shape for x, y in values):
            return _difference(narrow, wide, node, sides[0])
        if not all(_same(x, y, places, slots, node.name) for x, y in values):
            return _difference(narrow, wide, node, sides[0])
    return None


def _same(
    a: Tensor, b: Tensor, places: tuple[list[Place], list[Place]], slots: Slots, name: str
) -> bool:
    try:
        placed = placements(*places, a.shape, b.shape, slots, name)
    except MergeError:
        return True
    b = gather(b, placed, a.shape)
    if not a.is_floating_point():
        return bool((a == b).all())
    finite = a[torch.isfinite(a)]
    size = float(finite.abs().max()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=_RELATIVE, atol=_RELATIVE * size, equal_nan=True)


def _difference(
    narrow: Derived, wide: Derived, node: fx.Node, places: Mapping[str, Sequence[Place]]
) -> Difference:
    resized = {
        g.id
        for g in narrow.spec.groups
        if (g.size, g.contexts) != (wide.spec.by_id[g.id].size, wide.spec.by_id[g.id].contexts)
    }
    captured = narrow.traced.captured
    found: dict[str, None] = {}
    parameters: dict[str, None] = {}
    for source in (node, *_sources(node)):
        if source.name in captured.parameters:
            parameters[captured.parameters[source.name]] = None
        for place in places.get(source.name, ()):
            if place.group in resized:
                found[place.group] = None
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    layer = str(stack[-1][0]) if stack else ""
    return Difference(f"{node.target} '{node.name}'", layer, tuple(parameters), tuple(found))


def _sources(node: fx.Node) -> Iterator[fx.Node]:
    """What an operator reads, through views and copies."""
    for source in node.all_input_nodes:
        yield source
        if source.op == "call_function" and base_name(str(source.target)) in COPIES:
            yield from _sources(source)


def _operator(node: fx.Node) -> tuple[str, str]:
    return node.op, str(node.target) if node.op == "call_function" else ""


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in _tensors(v)]
    return []
