"""What a permutation of the units does to every tensor of a graph, not to parameters alone.

The index sets of each tensor are known, so the permutation of each tensor is: of a parameter, of
every intermediate result, of the operands and results of one operator. An operator keeps the claim
if its result on permuted operands is the permuted result (:mod:`zooalign.symmetry.proof`).

Numbers of positions (``Tensor.labels``: what ``argmax`` chose) are renumbered. Where the order of
the positions depends on a context, it is that of the place of the number.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from zooalign.errors import SpecError
from zooalign.graph.index_sets import Axis, IndexSets
from zooalign.graph.operator import Tensor
from zooalign.symmetry.apply import Members, gathered, is_still, sources
from zooalign.symmetry.boxes import Box
from zooalign.symmetry.derive import Derived, members_of
from zooalign.symmetry.groups import Group
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.solve import Solution
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Action", "Move", "action_of", "action_of_spec"]

_Sets = tuple[Axis, ...]  # of a tensor, an axis each, with products written out


@dataclass(frozen=True)
class Action:
    """The claimed action of all permutations of units on all tensors.

    Attributes
    ----------
    spec:
        A group for every set of units that can move, also where no parameter has it. It draws
        members; it has no places, as these are asked for tensor by tensor.
    """

    spec: PermutationSpec
    _sets: IndexSets
    _solution: Solution
    _names: Mapping[int, str]
    _boxes: Mapping[_Sets, tuple[Box, ...]]
    _known: dict[tuple[_Sets, tuple[int, ...]], Members] = field(default_factory=dict)

    def members(self, tensor: Tensor) -> Members:
        """The groups that move positions of a tensor, with their places, outer groups first.

        Raises
        ------
        SpecError
            If the index sets of the tensor do not say what moves in it.
        """
        return self._members(tensor.axes, _varying(tensor))

    def numbered(self, tensor: Tensor) -> Members:
        """As :meth:`members`, of the axes it varies along and one more: what its values number."""
        axes = [axis for axis in (*tensor.axes, tensor.labels) if axis]
        return self._members(axes, self.extents(tensor))

    def renumbered(self, tensor: Tensor) -> Members:
        """As :meth:`numbered`, of a tensor whose values number positions; none of another."""
        return self.numbered(tensor) if tensor.labels else ()

    def moving(self, tensor: Tensor) -> Members:
        """The groups that move positions of a tensor or change numbers in it, with their places."""
        return (*self.members(tensor), *self.renumbered(tensor))

    def extents(self, tensor: Tensor) -> tuple[int, ...]:
        """The sizes of the axes of :meth:`numbered`; the last one is that of what is numbered."""
        sizes = [n for n, axis in zip(tensor.shape, tensor.axes, strict=True) if axis]
        return (*sizes, self._sets.size(tensor.labels))

    def still(self, tensor: Tensor) -> bool:
        """Whether no group moves a position of the tensor or changes a number in it."""
        return not self.moving(tensor)

    def _members(self, axes: Sequence[Axis], shape: tuple[int, ...]) -> Members:
        key = (_written_out(self._sets, axes), shape)
        if 0 in shape:
            return ()
        if key not in self._known:
            boxes = self._boxes.get(key[0])
            if boxes is None and any(not self._fixed(axis) for axis in key[0]):
                raise SpecError("nothing says what a permutation does to a tensor with these axes")
            self._known[key] = self._places(shape, boxes or ())
        return self._known[key]

    def _fixed(self, axis: Axis) -> bool:
        return all(self._sets.fixed(atom) is not None for atom in axis)

    def _places(self, shape: tuple[int, ...], boxes: Sequence[Box]) -> Members:
        places = sorted(members_of(self._solution, "", shape, boxes), key=lambda place: place[0])
        return tuple((self.spec.by_id[self._names[n]], m) for n, m in places if n in self._names)

    def move(self, permutation: Permutation) -> "Move":
        """One permutation, ready to be applied to tensors."""
        self.spec.check(permutation)
        return Move(self, permutation)

    def transposition(self, generator: np.random.Generator, names: Sequence[str]) -> Permutation:
        """Exchange two units, in one context, of each group of these names that has two."""
        indices = dict(self.spec.identity().indices)
        for name in names:
            index = indices[name].copy()
            if index.size < 2 or index.shape[-1] < 2:
                continue
            context = tuple(int(generator.integers(n)) for n in index.shape[:-1])
            first, second = generator.choice(index.shape[-1], 2, replace=False)
            index[(*context, first)], index[(*context, second)] = second, first
            indices[name] = index
        return Permutation(self.spec.hash, indices)


@dataclass(frozen=True)
class Move:
    """One permutation of the units, applied to any tensor of the graph."""

    action: Action
    permutation: Permutation
    _sources: dict[int, tuple[Members, list[tuple[tuple[int, ...], np.ndarray]]]] = field(
        default_factory=dict
    )

    def __call__(self, tensor: Tensor, value: torch.Tensor) -> torch.Tensor:
        """The value permuted; itself where nothing moves and it varies along all of its axes.

        Along an axis that the tensor is said not to vary along, the first position counts.

        Raises
        ------
        SpecError
            As :meth:`Action.members`.
        """
        if self.action.renumbered(tensor):
            return self._renumbered(tensor, value)
        shape = _varying(tensor)
        narrow = value[tuple(slice(n) for n in shape)] if shape != tensor.shape else value
        for axes, index in self._moving(self.action.members(tensor), shape):
            narrow = gathered(narrow, axes, index)
        return _spread(narrow, value) if shape != tensor.shape else narrow

    def _moving(
        self, members: Members, shape: tuple[int, ...]
    ) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """Where positions come from, of the axes on which any moves."""
        if not members:
            return []
        key = id(members)  # of the action's own table, which keeps them
        if key not in self._sources:
            moving = sources(shape, members, self.permutation)
            self._sources[key] = members, [(a, index) for a, index in moving if not is_still(index)]
        return self._sources[key][1]

    def _renumbered(self, tensor: Tensor, value: torch.Tensor) -> torch.Tensor:
        """Numbers written out as marks along one more axis, moved, and read again."""
        shape = self.action.extents(tensor)
        narrow = value[tuple(slice(n) for n in _varying(tensor))].long().reshape(shape[:-1])
        if narrow.numel() and not 0 <= int(narrow.min()) <= int(narrow.max()) < shape[-1]:
            raise SpecError(f"numbers of {shape[-1]} positions lie outside of them")
        marks = torch.zeros(shape, dtype=torch.uint8, device=value.device)
        marks.scatter_(-1, narrow.unsqueeze(-1), 1)
        for axes, index in self._moving(self.action.numbered(tensor), shape):
            marks = gathered(marks, axes, index)
        numbers = marks.argmax(-1).to(value.dtype)
        return _spread(numbers.reshape(_varying(tensor)), value)


def _spread(narrow: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Of the shape of ``value``; contiguous if that is, as views of it may need that."""
    whole = narrow.expand(value.shape)
    return whole.contiguous() if value.is_contiguous() else whole


def action_of(
    sets: IndexSets, solution: Solution, class_of: Mapping[str, int] | None = None
) -> Action:
    """The action of the solution of index sets, of a whole graph or of one operator.

    ``class_of`` are names of classes, as of :class:`~zooalign.symmetry.derive.Derived`; the others
    get names of their own.

    Examples
    --------
    An elementwise operator between two tensors of one axis of 3 units:

    >>> from zooalign.symmetry.solve import solve
    >>> sets = IndexSets()
    >>> x, y = (Tensor((3,), sets.register([sets.axis(3)])) for _ in range(2))
    >>> sets.unify_axes(x.axes[0], y.axes[0])
    >>> action = action_of(sets, solve(sets))
    >>> move = action.move(action.spec.random(3))
    >>> torch.equal(move(y, torch.arange(3).exp()), move(x, torch.arange(3)).exp())
    True
    """
    names = {number: name for name, number in (class_of or {}).items()}
    for number in range(len(solution.classes)):
        names.setdefault(number, f"units#{number}")
    spec = PermutationSpec(
        shapes={},
        groups=tuple(
            Group(
                id=names[number],
                size=cls.size,
                members=(),
                over=tuple(names[outer] for outer in cls.over),
                contexts=tuple(solution.classes[outer].size for outer in cls.over),
            )
            for number, cls in enumerate(solution.classes)
            if not cls.fixed
        ),
        fixed_sets={
            names[number]: cls.size for number, cls in enumerate(solution.classes) if cls.fixed
        },
    )
    by_number: dict[int, list[Box]] = defaultdict(list)
    for box in solution.boxes:
        by_number[box.tensor].append(box)
    boxes: dict[_Sets, tuple[Box, ...]] = {}
    for number, axes in enumerate(sets.tensors):
        boxes.setdefault(_written_out(sets, axes), tuple(by_number[number]))
    moving = {n: name for n, name in names.items() if name in spec.by_id}
    return Action(spec, sets, solution, moving, boxes)


def action_of_spec(derived: Derived) -> Action:
    """The action of a derived spec on every tensor of its graph; its groups keep their names."""
    return action_of(derived.traced.sets, derived.solution, derived.class_of)


def _written_out(sets: IndexSets, axes: Sequence[Axis]) -> _Sets:
    return tuple(sets.digits(axis) for axis in axes)


def _varying(tensor: Tensor) -> tuple[int, ...]:
    """The shape with one position along each axis the tensor does not vary along."""
    return tuple(n if axis else 1 for n, axis in zip(tensor.shape, tensor.axes, strict=True))
