"""Two widths of one architecture: where they first differ, and a narrow model padded to a wide one.

A dead unit has zeros where it is produced and zeros where it is consumed, so the padded model
computes what the narrow one did. It has the wide model's shapes and spec, and every method of
matching and merging works on the pair. To a dead unit every unit has similarity zero: the best
assignment of the padded pair is the best rectangular assignment of the narrow model's units to the
wide one's.

A forward pass that names no width runs on wider parameters as it is. Whether it then computes
what it should is shown by running both, operator by operator, on random parameters in float64:
the units of the narrow model must have the same values in the wide one.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from zooalign.errors import MergeError, TraceError
from zooalign.graph.execute import steps
from zooalign.matching.assignment import unit_order
from zooalign.matching.axis_maps import (
    AxisMap,
    UnitMap,
    axis_maps,
    first_slots,
    gather,
    same_groups,
    spread,
)
from zooalign.matching.unit_views import (
    COPIES,
    UnitView,
    activation_views,
    base_name,
    tensor_views,
)
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.trial import random_inputs, random_state

__all__ = [
    "Padded",
    "WidthDifference",
    "first_difference",
    "pad_to",
    "widen_module",
    "widened_shapes",
]

_RELATIVE = 1e-7


@dataclass(frozen=True)
class WidthDifference:
    """The first operator that tells the wide model from the narrow one.

    ``parameters`` are the tensors of the state dict that it reads; ``groups`` those that differ in
    size and stand in its inputs or its result.
    """

    operator: str
    layer: str
    parameters: tuple[str, ...]
    groups: tuple[str, ...]

    def __str__(self) -> str:
        where = f" in '{self.layer}'" if self.layer else ""
        reads = f", with {', '.join(repr(p) for p in self.parameters)}" if self.parameters else ""
        return f"{self.operator}{where}{reads}"


def widened_shapes(spec: PermutationSpec, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the state dict with the named groups in other sizes (not nested ones)."""
    shapes = {name: list(shape) for name, shape in spec.shapes.items()}
    for name, places in tensor_views(spec).items():
        for place in places:
            if place.group in widths:
                more = widths[place.group] - spec.by_id[place.group].size
                shapes[name][place.axes[-1]] += more * place.positions.shape[1]
    return {name: tuple(shape) for name, shape in shapes.items()}


def widen_module(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A copy of a module with parameters and buffers of other shapes, filled with zeros.

    Sizes that torch's own layers note down follow (``out_features``, ``groups`` of a depthwise
    convolution, ...); those a forward pass names do not. Tensors of unchanged shape are copied.
    """
    tensors = [*module.parameters(), *module.buffers()]
    result = copy.deepcopy(module, {id(t): t for t in tensors})
    resized: dict[int, Tensor] = {}
    for prefix, owner in result.named_modules(remove_duplicate=False):
        dot = f"{prefix}." if prefix else ""
        for kind in (owner._parameters, owner._buffers):
            for leaf, tensor in kind.items():
                if tensor is None:
                    continue
                if id(tensor) not in resized:
                    fresh = _resized(tensor, shapes.get(dot + leaf, tuple(tensor.shape)))
                    resized[id(tensor)] = resized[id(fresh)] = fresh
                kind[leaf] = resized[id(tensor)]
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
    slots: UnitMap,
    inputs: Sequence[Any],
) -> WidthDifference | None:
    """The first operator whose narrow units have other values in the wide model, or None.

    Both graphs run side by side in float64; graphs of other operators raise MergeError. Views and
    copies are passed over, and what cannot be compared: any difference reappears in their
    consumers, at the latest in the outputs.
    """
    views, wide_views = (activation_views(derived, "all") for derived in (narrow, wide))
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
        places = (views.get(node.name, []), wide_views.get(other.name, []))
        values = list(zip(_tensors(a), _tensors(b), strict=True))
        resized = node.op == "output" and any(x.shape != y.shape for x, y in values)
        if resized or not all(_same(x, y, places, slots, node.name) for x, y in values):
            return _difference(narrow, wide, node, views)
    return None


def _same(
    a: Tensor, b: Tensor, places: tuple[list[UnitView], list[UnitView]], slots: UnitMap, name: str
) -> bool:
    try:
        maps = axis_maps(*places, a.shape, b.shape, slots, name)
    except MergeError:
        return True
    b = gather(b, maps, a.shape)
    if not a.is_floating_point():
        return bool((a == b).all())
    finite = a[torch.isfinite(a)]
    size = float(finite.abs().max()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=_RELATIVE, atol=_RELATIVE * size, equal_nan=True)


def _difference(
    narrow: Derived, wide: Derived, node: fx.Node, places: Mapping[str, Sequence[UnitView]]
) -> WidthDifference:
    resized = {
        g.id
        for g in narrow.spec.groups
        if (g.size, g.contexts) != (wide.spec.by_id[g.id].size, wide.spec.by_id[g.id].contexts)
    }
    captured = narrow.traced.captured
    near = (node, *_sources(node))
    names = [captured.parameters[n.name] for n in near if n.name in captured.parameters]
    standing = [p.group for n in near for p in places.get(n.name, ()) if p.group in resized]
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    layer = str(stack[-1][0]) if stack else ""
    parameters, groups = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(standing))
    return WidthDifference(f"{node.target} '{node.name}'", layer, parameters, groups)


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


@dataclass(frozen=True, eq=False)
class Padded:
    """A model in the shapes of a wider one, whose spec this is.

    ``state`` has the given tensors with zeros for the units that were added; ``live`` has per group
    a boolean for every unit (all contexts, row-major), False for dead ones.
    """

    state: Mapping[str, Tensor]
    spec: PermutationSpec
    live: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        object.__setattr__(self, "live", MappingProxyType(dict(self.live)))

    def permuted(self, permutation: Permutation) -> "Padded":
        """The model with a permutation of the wider architecture's units applied."""
        live = {g: kept[unit_order(self.spec, g, permutation)] for g, kept in self.live.items()}
        return Padded(self.spec.apply(permutation, self.state), self.spec, live)


def pad_to(
    narrow: nn.Module,
    wide: nn.Module,
    state: Mapping[str, Tensor],
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
) -> Padded:
    """A state dict of the narrow architecture in the shapes of the wide one, of the same function.

    Both graphs run side by side on random parameters in float64: every unit of the narrow model
    must have the same values in both.

    Parameters
    ----------
    narrow, wide:
        The two architectures: the same graph, in which groups of units differ in size. Their own
        values are not used (parameters may be on the meta device).
    state:
        The narrow model's; its dtypes and devices stay.
    example_inputs:
        Positional inputs both take; only shapes and dtypes matter.

    Raises
    ------
    MergeError
        If the architectures differ in more than widths, a group is larger in the narrow one, or
        dead units change what an operator computes; the operator and the layer are named.
    TraceError
        If an architecture cannot be traced.
    """
    small, large = (derive_spec(m, tuple(example_inputs)) for m in (narrow, wide))
    same_groups(small.spec, large.spec)
    slots = first_slots(small.spec, large.spec)
    pairs = zip(tensor_views(small.spec).items(), tensor_views(large.spec).values(), strict=True)
    shapes, wide_shapes = small.spec.shapes, large.spec.shapes
    maps = {
        name: axis_maps(places, wide_places, shapes[name], wide_shapes[name], slots, name)
        for (name, places), wide_places in pairs
    }
    trial = random_state(narrow, seed)
    padded, inputs = _spread_all(trial, small.spec, maps), random_inputs(example_inputs, seed)
    try:
        difference = first_difference(small, large, trial, padded, slots, inputs)
    except RuntimeError as error:
        raise TraceError(f"the architectures cannot be run side by side: {error}") from error
    if difference is not None:
        raise MergeError(_explained(difference, small.spec, large.spec))
    unknown = [name for name in state if name not in maps]
    if unknown:
        raise MergeError(
            f"the state dict holds '{unknown[0]}', which {type(narrow).__name__} lacks: it is of "
            "another architecture"
        )
    live = {}
    for group in large.spec.groups:
        kept = np.zeros(group.copies * group.size, dtype=bool)
        kept[slots[group.id]] = True
        live[group.id] = kept
    return Padded(_spread_all(state, small.spec, maps), large.spec, live)


def _spread_all(
    state: Mapping[str, Tensor],
    spec: PermutationSpec,
    maps: Mapping[str, Sequence[AxisMap]],
) -> dict[str, Tensor]:
    result = {}
    for name, tensor in state.items():
        if tuple(tensor.shape) != spec.shapes[name]:
            raise MergeError(
                f"'{name}' has shape {tuple(tensor.shape)}, the narrow architecture has "
                f"{spec.shapes[name]}"
            )
        result[name] = spread(tensor, maps[name])
    return result


def _explained(difference: WidthDifference, small: PermutationSpec, large: PermutationSpec) -> str:
    sizes = [
        f"'{g}' ({small.by_id[g].structure} against {large.by_id[g].structure})"
        for g in difference.groups[:3]
    ]
    what = ", ".join(sizes) or "the groups of other sizes"
    return (
        f"units of {what} cannot be padded: dead units change what {difference} computes, because "
        "it lets units of a group act on each other (a norm, a softmax, a mean over them, or a "
        "scale by their number). Choose a pair of the same width there."
    )
