"""Positions of parameters that the example inputs do not read.

A table of positions is longer than the example, so that ``table[:, :length]`` leaves rows unread.
No operator tells these apart, yet longer inputs would: they are no hidden units. Such rows stay in
their order, and what is in them moves as in the rows that are read. A set of units is read where an
operator computes something without it; to cut it away is not to read it.
"""

from collections import defaultdict
from typing import Any

from torch import fx

from zooalign.graph.arguments import plain_name
from zooalign.graph.build import Traced
from zooalign.graph.index_sets import Cause
from zooalign.graph.operator import Tensor
from zooalign.symmetry.solve import Solution

__all__ = ["fix_unread"]

_CUTS = frozenset(
    [
        *("slice", "select", "narrow", "chunk", "unsafe_chunk", "unbind", "tensor_split", "split"),
        *("split_with_sizes", "unsafe_split", "slice_copy", "select_copy", "unbind_copy"),
        *("split_copy", "split_with_sizes_copy", "unsafe_split_with_sizes"),
    ]
)


def fix_unread(traced: Traced, solution: Solution) -> bool:
    """Fix the sets of units that lie in unread parts of parameters; whether there are any.

    Fixing, and stating that two sets are one, can only make a group smaller.
    """
    unread, sets = _unread(traced, solution), traced.sets
    cause = Cause("not read", "the example inputs", "no step reads these positions for them")
    atoms = {
        sets.find(atom)
        for number in unread
        for alternative in solution.classes[number].alternatives
        for atom in alternative
    }
    for (atom, on, low, high), restricted in list(sets.restrictions.items()):
        if sets.find(restricted) in atoms:
            # Longer inputs find in these rows what is in the others: units of the same set.
            like = {
                sets.find(other)
                for (a, b, *ends), other in sets.restrictions.items()
                if (sets.find(a), sets.find(b)) == (sets.find(atom), sets.find(on))
                and ends != [low, high]
            } - atoms
            if len(like) == 1:
                atoms.discard(sets.find(restricted))
                sets.unify(restricted, like.pop())
    sets.fix(atoms, cause)
    return bool(unread)


def _unread(traced: Traced, solution: Solution) -> set[int]:
    """Numbers of the classes that occur in a part of a parameter and are never read."""
    by_tensor: dict[int, set[int]] = defaultdict(set)
    partly: dict[int, set[int]] = defaultdict(set)
    for box in solution.boxes:
        classes = {solution.parts[atom].cls for _, atom in box.atoms()}
        by_tensor[box.tensor] |= classes
        if box.chosen():
            partly[box.tensor] |= {n for n in classes if not solution.classes[n].fixed}
    number_of = {id(axes): number for number, axes in enumerate(traced.sets.tensors)}

    def classes_of(value: Any) -> set[int]:
        tensors = value if isinstance(value, (list, tuple)) else [value]
        numbers = [number_of[id(t.axes)] for t in tensors if isinstance(t, Tensor)]
        return set[int]().union(*(by_tensor[number] for number in numbers))

    parameters = [traced.values.get(node) for node in traced.captured.parameters]
    unread = set[int]().union(
        *(partly[number_of[id(t.axes)]] for t in parameters if isinstance(t, Tensor))
    )
    for node in traced.captured.graph.nodes:
        if not unread:
            break
        if node.name in traced.values and _reads(node):
            given = [classes_of(traced.values.get(part.name)) for part in node.all_input_nodes]
            unread -= set[int]().union(*given) - classes_of(traced.values[node.name])
    return unread


def _reads(node: fx.Node) -> bool:
    name = str(node.target)
    cuts = name == "<built-in function getitem>" or plain_name(node) in _CUTS
    return node.op == "call_function" and not cuts
