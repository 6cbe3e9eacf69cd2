"""Where units can be compared under maps of a class, with what the maps do to them there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from zooalign.graph.tensor import Tensor
from zooalign.matching.unit_views import UnitView, activation_views, parameter_views
from zooalign.symmetry.classes.derive import Classes
from zooalign.symmetry.classes.elements import SpecClasses, block_exponents
from zooalign.symmetry.classes.maps import BlockExponents
from zooalign.symmetry.groups import Member

__all__ = ["MappedView", "mapped_activations", "mapped_parameters"]


@dataclass(frozen=True, eq=False)
class MappedView:
    """Units of one group in one tensor, all of which are multiplied alike."""

    view: UnitView
    exponents: BlockExponents


_Placed = tuple[str, Member, Sequence[BlockExponents]]  # a group, a place, what its blocks do


def mapped_activations(classes: Classes) -> dict[str, list[MappedView]]:
    """Places in what operators compute, by the name of the node of ``classes.derived``.

    A place whose samples run along units of other groups that have maps is left out: until these
    are known the samples do not pair up.
    """
    assert classes.derived is not None and classes.said is not None
    values, places = classes.derived.traced.values, classes.said.places
    still = {name for name, of in classes.groups.items() if of.name == "permutations"}
    by_node: dict[str, list[MappedView]] = {}
    for node, views in activation_views(classes.derived, "all").items():
        tensor = values[node]
        assert isinstance(tensor, Tensor)
        placed = [
            (o.group.id, member, [classes.exponents(o.group.id, n) for n in o.places])
            for o, member in places.members(tensor)
        ]
        kept = [
            mapped
            for view in views
            if view.beside <= still and view.group in classes.groups
            for mapped in _alike(view, tensor.shape, placed)
        ]
        if kept:
            by_node[node] = kept
    return by_node


def mapped_parameters(classes: SpecClasses, groups: frozenset[str]) -> dict[str, list[MappedView]]:
    """Places of some groups in the state dict, by tensor; each tensor by one of its names."""
    spec = classes.spec
    placed: dict[str, list[_Placed]] = {}
    for group in spec.groups:
        for number, member in enumerate(group.members):
            row = block_exponents(classes.classes[group.id], number)
            row = row or [BlockExponents(0, (), ())] * len(member.blocks)
            placed.setdefault(member.parameter, []).append((group.id, member, row))
    by_tensor: dict[str, list[MappedView]] = {}
    for name, views in parameter_views(spec, placed).items():
        for view in views if name in groups else ():
            if view.tensor not in spec.tied or spec.tied[view.tensor] == view.tensor:
                shape = spec.shapes[view.tensor]
                by_tensor.setdefault(view.tensor, []).extend(
                    _alike(view, shape, placed[view.tensor])
                )
    return by_tensor


def _alike(view: UnitView, shape: Sequence[int], placed: Sequence[_Placed]) -> Iterator[MappedView]:
    """The parts of a view in which all units are multiplied alike."""
    kinds: list[BlockExponents] = []
    kind_at = np.full(prod(shape[axis] for axis in view.axes), -1)
    for group, member, row in placed:
        if group != view.group or member.axes != view.axes:
            continue
        for block, exponents in zip(member.blocks, row, strict=True):
            if exponents not in kinds:
                kinds.append(exponents)
            kind_at[block.positions().reshape(-1)] = kinds.index(exponents)
    kind_of = kind_at[view.positions]  # (units, repetitions)
    for number, exponents in enumerate(kinds):
        columns = (kind_of == number).all(0)
        if columns.any():
            yield MappedView(replace(view, positions=view.positions[:, columns]), exponents)
