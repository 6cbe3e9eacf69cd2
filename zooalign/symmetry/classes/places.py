"""Places: where the units of a group stand in the tensors of a graph, element by element.

A place is one block of units in one tensor: the query piece of a fused projection is one, the key
piece another. Under a scale ``s`` of a unit its elements at a place are multiplied by ``s ** e``;
the exponents ``e`` of all places are the unknowns of :mod:`zooalign.symmetry.classes.scaling`.
"""

from dataclasses import dataclass, field

import torch

from zooalign.graph.tensor import Tensor
from zooalign.symmetry.action import Action
from zooalign.symmetry.groups import Group, Member

__all__ = ["Occurrence", "Place", "Places", "narrowed"]


def narrowed(x: torch.Tensor) -> torch.Tensor:
    """The tensor with one position along each axis along which it does not vary."""
    for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
        if size > 1:
            first = x.narrow(axis, 0, 1)
            others = x.narrow(axis, 1, size - 1)
            if stride == 0 or torch.equal(others, first.expand_as(others)):
                x = first
    return x


@dataclass(frozen=True)
class Place:
    """Some units of a group in one tensor: a block of one of its members there.

    ``member`` counts the members of all groups in the tensor. ``whole`` says that all units of the
    group stand there, in their order.
    """

    group: str
    member: int
    block: int
    whole: bool


@dataclass(frozen=True)
class Occurrence:
    """Units of one group along some axes of a tensor.

    ``unit`` and ``context`` are int64 tensors that broadcast to the tensor's shape, with the number
    of the unit of each element and of its context, -1 where none stands; ``place`` is the number of
    the place of each element, ``places`` are all of these.
    """

    group: Group
    axes: tuple[int, ...]
    unit: torch.Tensor
    context: torch.Tensor
    place: torch.Tensor
    places: tuple[int, ...]


@dataclass
class Places:
    """All places that were asked for, by number."""

    action: Action
    known: list[Place] = field(default_factory=list)
    _tensors: dict[int, tuple[Tensor, tuple[Occurrence, ...], range]] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> tuple[Occurrence, ...]:
        """What stands in a tensor.

        Raises
        ------
        SpecError
            If the index sets of the tensor do not say what moves in it.
        """
        if id(tensor) not in self._tensors:  # kept, so that no other gets its id
            start = len(self.known)
            members = enumerate(self.action.members(tensor))
            occurrences = tuple(self._occurrence(tensor, n, *m) for n, m in members)
            self._tensors[id(tensor)] = tensor, occurrences, range(start, len(self.known))
        return self._tensors[id(tensor)][1]

    def _occurrence(self, tensor: Tensor, number: int, group: Group, member: Member) -> Occurrence:
        varying = [n if axis else 1 for n, axis in zip(tensor.shape, tensor.axes, strict=True)]
        extent = [varying[a] for a in member.axes]
        count = 1
        for size in extent:
            count *= size
        unit, context, place = (torch.full((count,), -1, dtype=torch.int64) for _ in range(3))
        start = len(self.known)
        contexts = torch.arange(group.copies).reshape(group.contexts)
        for number_of_block, block in enumerate(member.blocks):
            at = torch.from_numpy(block.positions())  # (*over counts, count, repetitions)
            within = tuple(slice(o.first, o.first + o.count) for o in block.over)
            units = torch.arange(block.first, block.first + block.count)
            unit[at] = units[:, None].expand(at.shape)
            context[at] = contexts[within][..., None, None].expand(at.shape)
            whole = block.first == 0 and block.count == group.size
            place[at] = len(self.known)
            self.known.append(Place(group.id, number, number_of_block, whole))
        shape = [varying[a] if a in member.axes else 1 for a in range(tensor.ndim)]
        unit, context, place = (narrowed(x.reshape(shape)) for x in (unit, context, place))
        numbers = tuple(range(start, len(self.known)))
        return Occurrence(group, member.axes, unit, context, place, numbers)

    def numbers(self, tensor: Tensor) -> range:
        """The numbers of the places in a tensor."""
        self.of(tensor)
        return self._tensors[id(tensor)][2]

    def members(self, tensor: Tensor) -> list[tuple[Occurrence, Member]]:
        """What stands in a tensor, with where."""
        members = self.action.members(tensor)
        return [(o, m) for o, (_, m) in zip(self.of(tensor), members, strict=True)]
