"""From index sets and relations to the group: which sets can be permuted, nested in which others.

The result is a list of *classes*. A class is a set of interchangeable units: one index set, a
joint set of several that always occur together, or several pieces that nothing tells apart.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from math import prod

import networkx as nx

from zooalign.graph.index_sets import IndexSets
from zooalign.symmetry.boxes import Box
from zooalign.symmetry.dependence import dependence, propagate_to_fixpoint

__all__ = ["SetPart", "Solution", "UnitClass", "solve"]


@dataclass(frozen=True)
class SetPart:
    """Which units of its class an index set holds: unit = first + stride * index + others."""

    cls: int
    first: int
    stride: int


@dataclass(frozen=True)
class UnitClass:
    """A set of units that may be permuted freely for each value of the classes in ``over``.

    ``over`` are numbers of classes, outermost first. ``alternatives`` are tuples of index sets: the
    units are those of the first tuple's product, then those of the second's, and so on. If the
    units are told apart (``fixed``), other classes may only be nested in this one.
    """

    size: int
    alternatives: tuple[tuple[int, ...], ...]
    over: tuple[int, ...]
    fixed: bool


@dataclass(frozen=True)
class Solution:
    """Classes, and which units of them each index set holds."""

    classes: tuple[UnitClass, ...]
    parts: dict[int, SetPart]
    boxes: tuple[Box, ...]


def solve(sets: IndexSets) -> Solution:
    """Find all classes of units from the relations stated so far.

    Examples
    --------
    Two layers that share a hidden axis of 5 units:

    >>> sets = IndexSets()
    >>> first, second = sets.axis(5), sets.axis(5)
    >>> _ = sets.register([first]), sets.register([second])
    >>> sets.unify_axes(first, second)
    >>> [c.size for c in solve(sets).classes]
    [5]
    """
    all_boxes = propagate_to_fixpoint(sets)
    depends = dependence(sets, all_boxes)
    joint = _joint(sets, depends)
    merged = _interchangeable(sets, all_boxes, joint)
    # A single position whose like stands nowhere is no unit.
    merged = [group for group in merged if _units(sets, group) > 1]
    classes, parts = [], {}
    order = _outer_first(sets, merged, depends)
    number_of = {atom: n for n, group in enumerate(order) for alt in group for atom in alt}
    for number, group in enumerate(order):
        depended = [{d for atom in alternative for d in depends[atom]} for alternative in group]
        over = {number_of[d] for d in set.intersection(*depended) if d in number_of} - {number}
        size = 0
        for alternative in group:
            stride = 1
            for atom in reversed(alternative):
                parts[atom] = SetPart(number, size, stride)
                stride *= sets.sizes[atom]
            size += stride
        fixed = sets.fixed(group[0][0]) is not None
        classes.append(UnitClass(size, tuple(group), tuple(sorted(over)), fixed))
    return Solution(tuple(classes), parts, tuple(_without(box, parts) for box in all_boxes))


def _units(sets: IndexSets, group: list[tuple[int, ...]]) -> int:
    return sum(prod(sets.sizes[atom] for atom in alternative) for alternative in group)


def _without(box: Box, parts: dict[int, SetPart]) -> Box:
    """The box without digits that are no unit of a class."""
    if all(atom in parts for _, atom in box.atoms()):
        return box
    sides = (
        replace(side, digits=tuple(d for d in side.digits if d.atom in parts)) for side in box.sides
    )
    return replace(box, sides=tuple(sides))


def _joint(sets: IndexSets, depends: dict[int, frozenset[int]]) -> list[tuple[int, ...]]:
    """Free sets that depend on each other are one joint set."""
    graph = nx.DiGraph()
    for atom, on in depends.items():
        graph.add_node(atom)
        if not sets.fixed(atom):
            graph.add_edges_from((atom, d) for d in on if d in depends and not sets.fixed(d))
    return [tuple(sorted(component)) for component in nx.strongly_connected_components(graph)]


def _interchangeable(
    sets: IndexSets, all_boxes: list[Box], joint: list[tuple[int, ...]]
) -> list[list[tuple[int, ...]]]:
    """Pieces that occur in the same places of the same tensors are one set of units.

    The zeros left and right of a zero-padded shortcut are such a pair: only the layout separates
    them, nothing tells them apart.
    """
    signatures: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    single = {group[0] for group in joint if len(group) == 1 and not sets.fixed(group[0])}
    for box in all_boxes:
        if not box.chosen():
            for _, atom in box.atoms():
                signatures[atom].append((box.tensor,))
            continue
        for number, side in enumerate(box.sides):
            for place, digit in enumerate(side.digits):
                piece_of = [c for c in side.chosen if c[1] == digit.atom]
                if digit.atom in single and len(piece_of) == 1:
                    signatures[digit.atom].append(_signature(box, number, place, piece_of[0]))
                else:
                    signatures[digit.atom].append((box.tensor,))
    same: dict[object, list[tuple[int, ...]]] = defaultdict(list)
    result: list[list[tuple[int, ...]]] = []
    for group in joint:
        atom = group[0]
        marks = signatures.get(atom, [])
        # Where a piece occurs twice in an axis it is not known which copy belongs to which.
        once = len(set(marks)) == len(marks)
        if atom in single and once and marks and all(len(mark) == 4 for mark in marks):
            same[tuple(sorted(marks, key=repr))].append(group)
        else:
            result.append([group])
    result.extend(sorted(groups) for groups in same.values())
    return result


def _signature(box: Box, number: int, place: int, piece_of: tuple[int, int]) -> tuple[object, ...]:
    """The place of a piece in a box: all that is beside it, but not its place in the sum."""
    sides: list[object] = []
    for n, side in enumerate(box.sides):
        atoms = [d.atom for d in side.digits]
        chosen = side.chosen
        if n == number:
            atoms[place] = -1
            chosen = tuple((x, -1) if (x, z) == piece_of else (x, z) for x, z in chosen)
        offset = -1 if n == number else side.offset
        sides.append((offset, tuple(atoms), tuple(d.stride for d in side.digits), chosen))
    return (box.tensor, number, place, tuple(sides))


def _outer_first(
    sets: IndexSets, merged: list[list[tuple[int, ...]]], depends: dict[int, frozenset[int]]
) -> list[list[tuple[int, ...]]]:
    """Classes so that each comes after those it depends on; ties in order of creation."""
    number_of = {atom: n for n, group in enumerate(merged) for alt in group for atom in alt}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(merged)))
    for n, group in enumerate(merged):
        atoms = [atom for alternative in group for atom in alternative]
        if any(sets.fixed(atom) for atom in atoms):
            continue  # the order of a fixed set depends on nothing
        graph.add_edges_from(
            (number_of[d], n) for atom in atoms for d in depends[atom] if number_of.get(d, n) != n
        )
    smallest = {n: min(merged[n][0]) for n in graph}
    return [merged[n] for n in nx.lexicographical_topological_sort(graph, key=smallest.get)]
