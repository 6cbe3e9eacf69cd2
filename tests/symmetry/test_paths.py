"""Ways go down to units and up from them, never up first."""

import networkx as nx
import pytest

from zooalign.symmetry.paths import Ways, containing, entries, within


@pytest.fixture
def graph() -> nx.MultiDiGraph:
    """Two wholes (0 and 1) of factors (2, 3) and (4, 5); 3 equals 4, and 5 equals 6."""
    graph = nx.MultiDiGraph()
    for a, b in ((0, 2), (0, 3), (1, 4), (1, 5)):
        graph.add_edge(f"set:{a}", f"set:{b}", relation="product")
    for a, b in ((3, 4), (6, 5)):
        graph.add_edge(f"set:{a}", f"set:{b}", relation="equality")
    graph.add_edge("tensor:t", "set:0", relation="axis")
    return graph


def _route(graph: nx.MultiDiGraph, start: str, units: set[str], target: str) -> list[str] | None:
    way = Ways(graph, [start], units).to(target)
    if way is None:
        return None
    assert all(graph.has_edge(*link.edge) for link in way)
    return [start, *(link.target for link in way)]


def test_the_way_leads_through_what_is_in_common(graph: nx.MultiDiGraph) -> None:
    units = {"set:3", "set:4"}
    assert _route(graph, "set:0", units, "set:1") == ["set:0", "set:3", "set:4", "set:1"]


def test_no_way_through_a_neighbour(graph: nx.MultiDiGraph) -> None:
    # 0 and 1 share only 3 = 4: that is no reason for 2 to have to do with 1.
    assert _route(graph, "set:0", {"set:2"}, "set:1") is None
    # From 2 up to 0 and down to 3 would be a way through a neighbour too.
    assert _route(graph, "set:2", {"set:2"}, "set:0") == ["set:2", "set:0"]
    assert _route(graph, "set:2", {"set:2"}, "set:3") is None


def test_equalities_go_both_ways(graph: nx.MultiDiGraph) -> None:
    assert _route(graph, "set:5", {"set:5", "set:6"}, "set:6") == ["set:5", "set:6"]
    assert _route(graph, "set:6", {"set:5", "set:6"}, "set:1") == ["set:6", "set:5", "set:1"]


def test_nearest_entries_and_containing(graph: nx.MultiDiGraph) -> None:
    units = {"set:3", "set:4"}
    ways = Ways(graph, ["set:0"], units)
    found = ways.nearest(lambda node: node in units)
    assert found is not None
    assert found[0] == "set:3"
    assert entries(graph, ways, units) == ["set:3"]
    assert containing(graph, units) == {"set:0", "set:1", "set:3", "set:4"}


def test_within_uses_equalities_alone(graph: nx.MultiDiGraph) -> None:
    way = within(graph, "set:4", "set:3", {"set:3", "set:4"})
    assert way is not None
    assert [link.edge for link in way] == [("set:3", "set:4", 0)]
    assert within(graph, "set:0", "set:3", {"set:0", "set:3"}) is None
