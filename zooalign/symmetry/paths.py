"""Shortest ways through the relations between index sets, in the dependency graph.

Two index sets are related through the units they have in common: a way goes *down* (from a whole
to a factor or piece, from a set to its restriction) to these units, and from there *up*;
equalities may be used anywhere. A way down to one part and up to a neighbour that has another part
would explain nothing.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

import networkx as nx

from zooalign.graph.dependency import RELATIONS

__all__ = ["Link", "Ways", "containing", "entries", "within"]


@dataclass(frozen=True)
class Link:
    """One relation on a way, walked from ``source`` to ``target`` (nodes of index sets).

    ``kind`` is ``equality``, ``product``, ``sum`` or ``restriction``; ``down`` tells whether it is
    walked from the whole to the part (always, for an equality). ``edge`` is the edge in the graph.
    """

    kind: str
    source: str
    target: str
    edge: tuple[str, str, int]
    down: bool


_State = tuple[str, bool]  # a node, and whether the way has reached the units and goes up


class Ways:
    """All shortest ways from some index sets, down to units and up from them."""

    def __init__(
        self, graph: nx.MultiDiGraph, starts: Iterable[str], units: Container[str]
    ) -> None:
        self._before: dict[_State, tuple[_State, Link] | None] = {}
        queue: deque[_State] = deque()

        def reach(node: str, up: bool, before: tuple[_State, Link] | None) -> None:
            # At a unit the way may go on down, or turn.
            states = [(node, up), (node, True)] if node in units else [(node, up)]
            for state in states:
                if state not in self._before:
                    self._before[state] = before
                    queue.append(state)

        for start in starts:
            reach(start, False, None)
        while queue:
            state = queue.popleft()
            node, up = state
            for link in _links(graph, node):
                if link.kind == "equality" or link.down != up:
                    reach(link.target, up, (state, link))

    def to(self, target: str) -> tuple[Link, ...] | None:
        """The shortest way to an index set, or None. Empty where it is a start."""
        state: _State = (target, True)
        if state not in self._before:
            return None
        links: list[Link] = []
        while (before := self._before[state]) is not None:
            state, link = before
            links.append(link)
        return tuple(reversed(links))

    def nearest(self, wanted: Callable[[str], bool]) -> tuple[str, tuple[Link, ...]] | None:
        """The nearest index set that is wanted, and the way to it."""
        for node, up in self._before:  # in the order of their distance
            if up and wanted(node):
                way = self.to(node)
                assert way is not None
                return node, way
        return None

    def descended(self) -> set[str]:
        """Everything reached going down."""
        return {node for node, up in self._before if not up}


def containing(graph: nx.MultiDiGraph, units: Iterable[str]) -> set[str]:
    """All index sets that hold the units: themselves, and what is reached going up."""
    holders = set(units)
    stack = list(holders)
    while stack:
        for link in _links(graph, stack.pop()):
            if (link.kind == "equality" or not link.down) and link.target not in holders:
                holders.add(link.target)
                stack.append(link.target)
    return holders


def entries(graph: nx.MultiDiGraph, ways: Ways, units: Container[str]) -> list[str]:
    """Where ways down first meet the units: several where one axis holds them several times."""
    met: dict[str, None] = {}
    outside = (node for node in ways.descended() if node not in units)
    for node in sorted(outside, key=lambda node: int(node.partition(":")[2])):
        for link in _links(graph, node):
            if link.down and link.kind != "equality" and link.target in units:
                met[link.target] = None
    return list(met)


def within(
    graph: nx.MultiDiGraph, start: str, goal: str, units: Container[str]
) -> tuple[Link, ...] | None:
    """The shortest way between two sets of the same units by equalities alone."""
    equal = nx.subgraph_view(
        graph,
        filter_node=lambda node: node in units,
        filter_edge=lambda *edge: graph.edges[edge]["relation"] == "equality",
    )
    return Ways(equal, [start], units).to(goal)


def _links(graph: nx.MultiDiGraph, node: str) -> Iterator[Link]:
    for _, target, key, kind in graph.out_edges(node, keys=True, data="relation"):
        if kind in RELATIONS:
            yield Link(kind, node, target, (node, target, key), down=True)
    for source, _, key, kind in graph.in_edges(node, keys=True, data="relation"):
        if kind in RELATIONS:
            yield Link(kind, node, source, (source, node, key), down=kind == "equality")
