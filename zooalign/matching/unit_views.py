"""Where a group's units can be compared: in the tensors of a state dict, or in the activations."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import prod

import numpy as np
import torch
from torch import Tensor

from zooalign.graph.layouts import LAYOUTS, operators
from zooalign.graph.lazy_state import as_real
from zooalign.symmetry.boxes import Box
from zooalign.symmetry.derive import Derived, members_of
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "COPIES",
    "UnitView",
    "activation_views",
    "base_name",
    "by_tensor",
    "families",
    "from_front",
    "parameter_views",
    "tensor_views",
    "to_front",
]

# What these return is a tensor of the graph in another layout: reading it again adds nothing.
COPIES = LAYOUTS | operators(
    "cat chunk concat constant_pad_nd copy_ dropout feature_dropout flip getitem movedim narrow "
    "pad repeat roll split split_with_sizes stack swapaxes unbind unfold"
)


# Units differ most clearly behind these.
_FUNCTIONS = operators(
    "celu clamp elu gelu hardsigmoid hardswish hardtanh leaky_relu mish prelu relu relu6 selu "
    "sigmoid silu softplus tanh"
)

# Small enough to decide between units only where the places behind functions say nothing.
_RESCUE = 1e-3


@dataclass(frozen=True, eq=False)
class UnitView:
    """Units of one group in one tensor.

    ``positions`` has shape (units, repetitions) and counts in the row-major flattening of
    ``axes``; units are all units of the group in all contexts, row-major. ``beside`` names the
    groups that stand along other axes: until their order is known the samples do not pair up.
    ``weight`` is what the place counts among others.
    """

    group: str
    tensor: str
    axes: tuple[int, ...]
    positions: np.ndarray
    beside: frozenset[str] = frozenset()
    weight: float = 1.0

    @cached_property
    def whole(self) -> bool:
        """Whether the flattened axes are the units as they stand."""
        flat = self.positions.reshape(-1)
        return bool(np.array_equal(flat, np.arange(flat.size)))

    @cached_property
    def _index(self) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.positions.reshape(-1)))

    def rows(self, tensor: Tensor) -> Tensor:
        """The tensor as a real matrix with one row per unit."""
        flat = to_front(as_real(tensor), self.axes)
        if not (self.whole and self.positions.size == len(flat)):
            flat = flat.index_select(0, self._index.to(tensor.device))
        return flat.reshape(self.positions.shape[0], -1)


def to_front(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor with the given axes flattened into its first one."""
    front = tensor.movedim(axes, tuple(range(len(axes))))
    return front.reshape(prod(front.shape[: len(axes)]), *front.shape[len(axes) :])


def from_front(rows: Tensor, axes: tuple[int, ...], extent: Sequence[int]) -> Tensor:
    """The inverse of :func:`to_front`, for axes of these sizes."""
    return rows.reshape(*extent, *rows.shape[1:]).movedim(tuple(range(len(axes))), axes)


def parameter_views(spec: PermutationSpec, names: Iterable[str]) -> dict[str, list[UnitView]]:
    """Places in the named tensors of the state dict, by group."""
    by_group: dict[str, list[UnitView]] = defaultdict(list)
    for name in names:
        for view in _innermost(spec.by_parameter.get(name, ())):
            by_group[view.group].append(view)
    return dict(by_group)


def activation_views(derived: Derived, which: str = "activations") -> dict[str, list[UnitView]]:
    """Places in the tensors that operators compute, by the name of the node.

    ``which`` is ``all``, or ``activations``: for a group that stands behind an activation function
    only the places there.
    """
    traced, solution = derived.traced, derived.solution
    group_of = {number: derived.spec.by_id[name] for name, number in derived.class_of.items()}
    numbers = {id(axes): number for number, axes in enumerate(traced.sets.tensors)}
    boxes: dict[int, list[Box]] = defaultdict(list)
    for box in solution.boxes:
        boxes[box.tensor].append(box)
    by_node: dict[str, list[UnitView]] = {}
    for node in traced.captured.graph.nodes:
        value = traced.values.get(node.name)
        if node.op != "call_function" or base_name(str(node.target)) in COPIES:
            continue
        axes = getattr(value, "axes", None)
        if value is None or axes is None or id(axes) not in numbers:
            continue
        members = members_of(solution, node.name, value.shape, boxes[numbers[id(axes)]])
        places = _innermost([(group_of[n], member) for n, member in members if n in group_of])
        if places:
            by_node[node.name] = places
    return by_node if which == "all" else _behind_functions(derived, by_node)


def _behind_functions(
    derived: Derived, places: dict[str, list[UnitView]]
) -> dict[str, list[UnitView]]:
    functions = {
        node.name
        for node in derived.traced.captured.graph.nodes
        if base_name(str(node.target)).removesuffix("_") in _FUNCTIONS
    }
    # A place that waits for another group's order is not a reason to drop one that need not.
    served = {p.group for name in functions for p in places.get(name, ()) if not p.beside}
    kept: dict[str, list[UnitView]] = {}
    rescued: set[str] = set()
    for name, at in places.items():
        chosen = [p for p in at if name in functions or p.group not in served]
        for place in at:
            # One place before the functions tells apart units that never fire.
            if name not in functions and place.group in served - rescued and not place.beside:
                chosen.append(replace(place, weight=_RESCUE))
                rescued.add(place.group)
        if chosen:
            kept[name] = chosen
    return kept


def base_name(target: str) -> str:
    """An operator without its namespace and overload: ``relu`` for ``aten.relu.default``."""
    if target.startswith("<built-in"):
        return "getitem"
    return target.split(".")[1] if "." in target else target


def _innermost(members: Sequence[tuple[Group, Member]]) -> list[UnitView]:
    """Each position once: where head and dim both stand, the dims compare, the heads do not."""
    places = []
    for group, member in members:
        nested = [m for g, m in members if group.id in g.over]
        if any(m.axes != member.axes for m in nested):
            continue  # the inner units lie along another axis too, and compare there
        covered = [b.positions().reshape(-1) for m in nested for b in m.blocks]
        positions = member.positions(group)
        positions = positions.reshape(-1, positions.shape[-1])
        if covered:
            positions = positions[:, ~np.isin(positions, np.concatenate(covered)).all(axis=0)]
        if positions.size:
            beside = frozenset(_beside(members, group, member, positions))
            places.append(UnitView(group.id, member.parameter, member.axes, positions, beside))
    return places


def _beside(
    members: Sequence[tuple[Group, Member]], group: Group, member: Member, positions: np.ndarray
) -> Iterator[str]:
    """Groups of the same tensor, not of the same nest, that the samples of a place run along."""
    for other, place in members:
        related = group.id in other.over or other.id in group.over
        if place is member or (related and place.axes == member.axes):
            continue
        if place.axes != member.axes or any(
            np.isin(positions, block.positions()).any() for block in place.blocks
        ):
            yield other.id


def families(spec: PermutationSpec) -> list[tuple[str, ...]]:
    """Groups that are nested in each other, outer first: they are assigned together."""
    root: dict[str, str] = {}
    for group in spec.groups:
        outer = [root[o] for o in group.over if o in root]
        root[group.id] = outer[0] if outer else group.id
        for other in outer[1:]:  # nested over two independent groups: all one family
            root = {g: outer[0] if r == other else r for g, r in root.items()}
    nests: dict[str, list[str]] = defaultdict(list)
    for group in spec.groups:
        nests[root[group.id]].append(group.id)
    return [tuple(names) for names in nests.values()]


def by_tensor(places: Mapping[str, Sequence[UnitView]]) -> dict[str, list[UnitView]]:
    """The same places, by the tensor they stand in."""
    table: dict[str, list[UnitView]] = defaultdict(list)
    for view in chain.from_iterable(places.values()):
        table[view.tensor].append(view)
    return dict(table)


def tensor_views(spec: PermutationSpec) -> dict[str, list[UnitView]]:
    """Places of all groups in every tensor of the state dict, by tensor, each position once."""
    return {name: [] for name in spec.shapes} | by_tensor(parameter_views(spec, spec.shapes))
