"""Why an axis of a parameter moves as it does, or what froze it: paths in the dependency graph."""

import difflib
from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile

import networkx as nx
import numpy as np

from zooalign.errors import SpecError
from zooalign.graph.dependency import dependency_graph, set_node
from zooalign.graph.index_sets import Cause
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.explanation import (
    AxisExplanation,
    Explanation,
    FrozenPart,
    GroupPart,
    Reached,
    Step,
)
from zooalign.symmetry.groups import Frozen, Group, Member
from zooalign.symmetry.paths import Link, Ways, containing, entries, within
from zooalign.symmetry.wording import operator_name, phrase

__all__ = ["explain"]

# At most so many ties between parts of one axis are shown.
_MOST_TIES = 8


def explain(
    derived: Derived,
    parameter: str,
    axis: int | None = None,
    *,
    graph: nx.MultiDiGraph | None = None,
) -> Explanation:
    """Why an axis is in its groups, or what froze it.

    ``axis`` is one of the tensor ``parameter`` of the state dict, None for all; ``graph`` the
    network's :func:`~zooalign.graph.dependency.dependency_graph`, where it is at hand.

    Raises
    ------
    SpecError
        If the state dict has no such name (the closest names are given) or the tensor no such axis.

    Examples
    --------
    >>> import torch
    >>> from zooalign.symmetry import derive_spec
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> print(explain(derive_spec(mlp, (torch.zeros(1, 4),)), "2.weight", 0).text())
    `2.weight` axis 0 (2 positions)
      frozen: output, at the network's output
        because `2.weight` axis 0
          -> the network's output: output
    """
    shapes = derived.spec.shapes
    if parameter not in shapes:
        close = difflib.get_close_matches(parameter, shapes, n=3, cutoff=0.4)
        hint = f"; the closest are {', '.join(map(repr, close))}" if close else ""
        raise SpecError(f"the state dict has no tensor {parameter!r}{hint}")
    shape = shapes[parameter]
    if axis is not None and not 0 <= axis < len(shape):
        have = f"axes 0 to {len(shape) - 1}" if shape else "no axes"
        raise SpecError(f"'{parameter}' of shape {shape} has no axis {axis}: it has {have}")
    source = _Source(derived, dependency_graph(derived.traced) if graph is None else graph)
    wanted = range(len(shape)) if axis is None else (axis,)
    return Explanation(
        parameter=parameter,
        shape=shape,
        unused=parameter in derived.spec.unused,
        tied=source.tied(parameter),
        axes=tuple(source.axis(parameter, number) for number in wanted),
    )


class _Source:
    """What explanations are read from."""

    def __init__(self, derived: Derived, graph: nx.MultiDiGraph) -> None:
        self.derived, self.graph = derived, graph
        self.spec, self.sets = derived.spec, derived.traced.sets
        captured = derived.traced.captured
        self.node_of = {name: node for node, name in captured.parameters.items()}

    def tied(self, parameter: str) -> tuple[str, ...]:
        """Other names of the same tensor."""
        ties = self.derived.traced.captured.tied
        first = ties.get(parameter, parameter)
        names = (first, *(name for name, other in ties.items() if other == first))
        return tuple(name for name in names if name != parameter)

    def axis(self, parameter: str, axis: int) -> AxisExplanation:
        names = (parameter, *self.tied(parameter))
        groups = [
            self._group(group, member)
            for group, member in self.spec.by_parameter.get(parameter, ())
            if member.axis == axis
        ]
        frozen = [f for f in self.spec.frozen if f.parameter in names and f.axis == axis]
        return AxisExplanation(
            axis=axis,
            size=self.spec.shapes[parameter][axis],
            groups=tuple(groups),
            frozen=tuple(self._frozen(f) for f in frozen),
        )

    def _starts(self, parameter: str, axis: int) -> list[str]:
        """The index sets of a parameter's axis."""
        for name in (parameter, *self.tied(parameter)):
            value = self.derived.traced.values.get(self.node_of.get(name, ""))
            if value is not None:
                return [set_node(atom) for atom in value.axes[axis]]
        return []

    # ------------------------------------------------------------------ groups

    def _group(self, group: Group, member: Member) -> GroupPart:
        unit_class = self.derived.solution.classes[self.derived.class_of[group.id]]
        atoms = {self.sets.find(a) for alternative in unit_class.alternatives for a in alternative}
        units = {set_node(a) for a in range(len(self.sets.sizes)) if self.sets.find(a) in atoms}
        starts = self._starts(member.parameter, member.axis)
        # Two axes that are equal as wholes share all their units: no need to go down to these.
        ways = Ways(self.graph, starts, containing(self.graph, units))
        nearest = Ways(self.graph, starts, units).nearest(lambda node: node in units)
        others = [
            self._reached(ways, m.parameter, m.axis)
            for m in group.members
            if (m.parameter, m.axis) != (member.parameter, member.axis)
        ]
        module = member.parameter.split(".")[:-1]
        order = {other: n for n, other in enumerate(others)}

        def distance(other: Reached) -> tuple[bool, int, int, int]:
            parts = zip(module, other.parameter.split("."), strict=False)
            shared = list(takewhile(lambda pair: pair[0] == pair[1], parts))
            return other.way is None, len(other.way or ()), -len(shared), order[other]

        others.sort(key=distance)
        classes = () if self.spec.classes is None else self.spec.classes.groups
        of = next((of for of in classes if of.group == group.id), None)
        return GroupPart(
            id=group.id,
            size=group.size,
            structure=group.structure,
            over=group.over,
            contexts=group.contexts,
            inside=tuple(g.id for g in self.spec.groups if group.id in g.over),
            positions=self._positions(group, member),
            units=() if nearest is None else self._steps(nearest[1]),
            ties=tuple(self._ties(ways, units)),
            members=tuple(others),
            symmetry_class=None if of is None else of.name,
            lowered=() if of is None else of.lowered,
        )

    def _reached(self, ways: Ways, parameter: str, axis: int) -> Reached:
        ways_there = [ways.to(node) for node in self._starts(parameter, axis)]
        best = min((way for way in ways_there if way is not None), key=len, default=None)
        return Reached(parameter, axis, None if best is None else self._steps(best))

    def _ties(self, ways: Ways, units: set[str]) -> Iterator[tuple[Step, ...]]:
        first, *others = entries(self.graph, ways, units) or [""]
        for other in others[:_MOST_TIES]:
            way = within(self.graph, first, other, units)
            if way:
                yield self._steps(way)

    def _positions(self, group: Group, member: Member) -> tuple[tuple[int, int], ...]:
        """Ranges along the axis of the member."""
        shape = self.spec.shapes[member.parameter]
        flat = np.unravel_index(
            member.positions(group).reshape(-1), [shape[a] for a in member.axes]
        )
        along = np.unique(flat[member.axes.index(member.axis)])
        breaks = np.flatnonzero(np.diff(along) != 1) + 1
        return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(along, breaks))

    # ------------------------------------------------------------------ frozen

    def _frozen(self, frozen: Frozen) -> FrozenPart:
        reason = Cause(frozen.kind, frozen.operator, frozen.detail)

        def stated(node: str) -> dict[str, Cause]:
            return {
                by: Cause(e["cause_kind"], e["operator"], e["detail"])
                for _, by, e in self.graph.out_edges(node, data=True)
                if e["relation"] == "fixed"
            }

        units = {set_node(a) for a in range(len(self.sets.sizes)) if self.sets.fixed(a) == reason}
        starts = self._starts(frozen.parameter, frozen.axis)
        ways = Ways(self.graph, starts, units)
        nearest = ways.nearest(lambda node: reason in stated(node).values())
        by = ""
        if nearest is None:
            steps = self._alone(frozen, starts)
        else:
            index_set, links = nearest
            by = next(node for node, cause in stated(index_set).items() if cause == reason)
            words = f"{frozen.kind} ({frozen.detail})" if frozen.detail else frozen.kind
            name = operator_name(self.graph, by, frozen.operator)
            steps = (*self._steps(links), Step("fixed", index_set, by, by, name, words))
        also = dict.fromkeys(
            operator_name(self.graph, node, cause.operator)
            for other in ways.descended() & units
            for node, cause in stated(other).items()
            if node != by
        )
        return FrozenPart(
            kind=frozen.kind,
            operator=operator_name(self.graph, by, frozen.operator),
            node=by,
            detail=frozen.detail,
            positions=frozen.positions,
            partial=frozen.partial,
            way=steps,
            also=tuple(sorted(also)),
        )

    def _alone(self, frozen: Frozen, starts: Sequence[str]) -> tuple[Step, ...]:
        """The way to the cut that makes a position a single unit."""
        if frozen.positions is None:
            return ()
        cut = {
            piece
            for _, piece, edge in self.graph.edges(data=True)
            if edge["relation"] == "sum"
            and edge["offset"] == frozen.positions[0][0]
            and self.graph.nodes[piece]["size"] == 1
        }
        nearest = Ways(self.graph, starts, cut).nearest(lambda node: node in cut)
        return () if nearest is None else self._steps(nearest[1])

    # ------------------------------------------------------------------ steps

    def _steps(self, links: Sequence[Link]) -> tuple[Step, ...]:
        """Consecutive relations of one operator are one step."""
        steps: list[Step] = []

        def operator(link: Link) -> tuple[str, str]:
            edge = self.graph.edges[link.edge]
            return edge["stated_by"], edge["operator"]

        for (node, stated), run in groupby(links, key=operator):
            same = list(run)
            name = operator_name(self.graph, node, stated)
            kind = "+".join(dict.fromkeys(link.kind for link in same))
            steps.append(
                Step(kind, same[0].source, same[-1].target, node, name, phrase(self.graph, same))
            )
        return tuple(steps)
