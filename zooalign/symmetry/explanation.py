"""The answer of :func:`zooalign.symmetry.explain.explain`: values, plain dicts, and text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zooalign.symmetry.classes.group_class import ClassName, Lowering
from zooalign.symmetry.groups import plain
from zooalign.text import some_of

__all__ = ["AxisExplanation", "Explanation", "FrozenPart", "GroupPart", "Reached", "Step"]

# The nearest members are shown with the way to them, the next ones by name.
_WITH_WAY = 2
_BY_NAME = 6


@dataclass(frozen=True)
class Step:
    """One step of a way: what one operator says.

    Attributes
    ----------
    kind:
        The relations, joined by ``+``: ``equality``, ``product``, ``sum``, ``restriction``; or
        ``fixed``, the last step to what froze an axis.
    source, target:
        Nodes of the dependency graph: index sets, and for ``fixed`` the node that fixed the set.
    node:
        The operator's node in the dependency graph, empty for a consequence of all relations.
    operator:
        The operator in words.
    words:
        What it says.
    """

    kind: str
    source: str
    target: str
    node: str
    operator: str
    words: str


@dataclass(frozen=True)
class Reached:
    """Another member of a group, and the way to it (None if it is not in the stated relations)."""

    parameter: str
    axis: int
    way: tuple[Step, ...] | None


@dataclass(frozen=True)
class GroupPart:
    """One group that moves positions of the axis.

    Attributes
    ----------
    id, size, structure:
        As in the spec.
    over, contexts:
        Groups (or fixed sets) that it has a permutation for each unit of, and their sizes.
    inside:
        Groups that have a permutation for each unit of this one.
    positions:
        Half-open ranges along the axis.
    units:
        The way from the axis to the group's units.
    ties:
        Where the units occur several times in the axis: the ways from the first to the others.
    members:
        All other places of the group, nearest first.
    symmetry_class:
        The class of its maps, such as ``orthogonal``; None where it was not asked for.
    lowered:
        What keeps that class from being larger.
    """

    id: str
    size: int
    structure: str
    over: tuple[str, ...]
    contexts: tuple[int, ...]
    inside: tuple[str, ...]
    positions: tuple[tuple[int, int], ...]
    units: tuple[Step, ...]
    ties: tuple[tuple[Step, ...], ...]
    members: tuple[Reached, ...]
    symmetry_class: ClassName | None = None
    lowered: tuple[Lowering, ...] = ()


@dataclass(frozen=True)
class FrozenPart:
    """Positions of the axis that do not move.

    Attributes
    ----------
    kind, detail:
        Why, as in the spec.
    operator, node:
        What told the positions apart: in words, and as a node of the dependency graph (empty
        where no operator did).
    positions:
        Half-open ranges along the axis, None for all.
    partial:
        Whether the positions do move as part of a unit but have a fixed order inside it.
    way:
        From the axis to the operator; its last step has the kind ``fixed``.
    also:
        Other operators that tell the same positions apart.
    """

    kind: str
    operator: str
    node: str
    detail: str
    positions: tuple[tuple[int, int], ...] | None
    partial: bool
    way: tuple[Step, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class AxisExplanation:
    """One axis: its groups and its frozen positions. An axis of one position has neither."""

    axis: int
    size: int
    groups: tuple[GroupPart, ...]
    frozen: tuple[FrozenPart, ...]


@dataclass(frozen=True)
class Explanation:
    """Why the axes of a parameter are permuted or frozen.

    Attributes
    ----------
    parameter, shape:
        Name in the state dict, and shape.
    unused:
        Whether no output depends on it; it is left alone then.
    tied:
        Other names of the same tensor.
    axes:
        The axes asked about.
    """

    parameter: str
    shape: tuple[int, ...]
    unused: bool
    tied: tuple[str, ...]
    axes: tuple[AxisExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as lists, dicts, strings and numbers; the names are the attributes' names."""
        return dict(plain(self))

    def text(self) -> str:
        """For people."""
        lines = []
        if self.tied:
            lines.append(f"`{self.parameter}` is the same tensor as {some_of(self.tied, _BY_NAME)}")
        if self.unused:
            lines.append(f"`{self.parameter}` is unused: no output depends on it, it is left alone")
        elif not self.axes:
            lines.append(f"`{self.parameter}` has no axes")
        for axis in () if self.unused else self.axes:
            lines.extend(_axis(f"`{self.parameter}` axis {axis.axis}", axis))
        return "\n".join(lines)


def _axis(name: str, axis: AxisExplanation) -> Iterator[str]:
    yield f"{name} ({axis.size} position{'s' * (axis.size != 1)})"
    if not axis.groups and not axis.frozen:
        yield "  nothing to permute" if axis.size == 1 else "  left alone"
    for group in axis.groups:
        yield from _group(name, axis.size, group)
    for frozen in axis.frozen:
        yield from _frozen(name, axis.size, frozen)


def _group(name: str, size: int, group: GroupPart) -> Iterator[str]:
    yield f"  group {group.id}: {group.structure}"
    if group.positions != ((0, size),):
        yield f"    at {_ranges(group.positions)}"
    if group.symmetry_class is not None:
        yield f"    class: {group.symmetry_class}" + (", lowered by" if group.lowered else "")
        yield from (f"      {lowering.reason}" for lowering in group.lowered)
    if group.inside:
        yield f"    permuted independently in each of its units: {some_of(group.inside, _BY_NAME)}"
    if group.units:
        yield f"    the units: {name}"
        yield from _way(group.units)
    if group.ties:
        yield "    several times in this axis, tied by"
    for tie in group.ties:
        yield from _way(tie)
    for member in group.members[:_WITH_WAY]:
        target = f"`{member.parameter}` axis {member.axis}"
        yield f"    moves with {target}" + (": the same tensor" if member.way == () else "")
        if member.way:  # without the way to the units, which is shown already
            start = len(group.units) if member.way[: len(group.units)] == group.units else 0
            yield from _way(member.way[start:])
    further = group.members[_WITH_WAY:]
    if further:
        shown = [f"`{m.parameter}` axis {m.axis}" for m in further[:_BY_NAME]]
        rest = len(further) - len(shown)
        yield f"    and with {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def _frozen(name: str, size: int, frozen: FrozenPart) -> Iterator[str]:
    detail = f" ({frozen.detail})" if frozen.detail else ""
    inside = " inside each unit that moves" if frozen.partial else ""
    yield f"  frozen{inside}: {frozen.kind}{detail}, at {frozen.operator}"
    if frozen.positions is not None and frozen.positions != ((0, size),):
        yield f"    at {_ranges(frozen.positions)}"
    if frozen.way:
        yield f"    because {name}"
        yield from _way(frozen.way)
    if frozen.also:
        yield f"    also told apart by {some_of(frozen.also, _BY_NAME)}"


def _way(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield f"      -> {step.operator}: {step.words}"


def _ranges(ranges: Sequence[tuple[int, int]]) -> str:
    shown = [f"{a} to {b - 1}" if b - a > 1 else str(a) for a, b in ranges[:_BY_NAME]]
    rest = len(ranges) - len(shown)
    more = f" and {rest} more ranges" if rest else ""
    several = len(shown) > 1 or ranges[0][1] - ranges[0][0] > 1
    return f"position{'s' * several} {', '.join(shown)}{more}"
