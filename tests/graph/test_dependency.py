"""The networkx graph says what was traced, and survives GraphML."""

from math import prod
from pathlib import Path

import networkx as nx
import pytest
import timm
import torch
from sample_models.small import Wrapped
from torch import Tensor, nn

from zooalign.errors import ZooalignError
from zooalign.graph.build import Traced
from zooalign.graph.dependency import RELATIONS, dependency_graph, set_node, write_graph
from zooalign.symmetry.extract import derive_spec

pytestmark = pytest.mark.slow


class Gated(nn.Module):
    """Two halves of one layer, multiplied; a weight under two names and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(4, 16)
        self.out = nn.Linear(8, 8, bias=False)
        self.again = nn.Linear(8, 8, bias=False)
        self.again.weight = self.out.weight
        self.unused = nn.Linear(3, 3)
        self.register_buffer("slope", torch.arange(8.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(x).chunk(2, -1)
        return self.again(self.out(a * b.sigmoid()) * self.slope)


def _traced(module: nn.Module, *shape: int) -> Traced:
    return derive_spec(module, (torch.zeros(*shape),)).traced


def _edges(graph: nx.MultiDiGraph, relation: str) -> list[tuple[str, str, dict[str, object]]]:
    return [(a, b, e) for a, b, e in graph.edges(data=True) if e["relation"] == relation]


@pytest.fixture(scope="module")
def gated() -> nx.MultiDiGraph:
    return dependency_graph(_traced(Gated(), 2, 4))


@pytest.fixture(scope="module", params=["test_vit", "resnet18"])
def traced(request: pytest.FixtureRequest) -> Traced:
    return _traced(timm.create_model(request.param), 1, 3, 160, 160)


def test_operators_read_and_write_tensors(gated: nx.MultiDiGraph) -> None:
    reads = {(a, e["argument"]) for a, b, e in _edges(gated, "reads") if b == "operator:linear"}
    assert reads == {
        ("input:x", "input"),
        ("parameter:both.weight", "weight"),
        ("parameter:both.bias", "bias"),
    }
    written = [b for a, b, _ in _edges(gated, "writes") if a == "operator:chunk"]
    assert written == ["tensor:chunk#0", "tensor:chunk#1"]
    # What takes one part of a list reads that part alone.
    assert set(gated.predecessors("operator:sigmoid")) == {"tensor:chunk#1"}
    assert set(gated.predecessors("operator:mul_1")) >= {"constant:b_slope"}
    assert gated.nodes["operator:linear"]["layer"] == "both"


def test_tied_and_unused_parameters(gated: nx.MultiDiGraph) -> None:
    assert [(a, b) for a, b, _ in _edges(gated, "tied")] == [
        ("parameter:again.weight", "parameter:out.weight")
    ]
    assert not gated.nodes["parameter:unused.weight"]["used"]
    assert not list(gated.successors("parameter:unused.weight"))
    assert gated.nodes["parameter:again.weight"]["used"]


def test_halves_are_pieces_of_the_whole_axis(gated: nx.MultiDiGraph) -> None:
    (whole,) = [
        b for _, b, e in gated.out_edges("parameter:both.weight", data=True) if e.get("axis") == 0
    ]
    pieces = {
        (e["offset"], gated.nodes[b]["size"]) for a, b, e in _edges(gated, "sum") if a == whole
    }
    assert pieces == {(0, 8), (8, 8)}
    assert {e["stated_by"] for a, _, e in _edges(gated, "sum") if a == whole} == {"operator:chunk"}


def test_a_constant_fixes_what_it_meets(gated: nx.MultiDiGraph) -> None:
    causes = {(b, e["cause_kind"]) for _, b, e in _edges(gated, "fixed")}
    assert ("constant:b_slope", "constant") in causes
    assert ("output", "output") in causes


def test_restrictions_name_the_part(traced: Traced) -> None:
    graph = dependency_graph(traced)
    parts = {
        (e["first"], e["count"], e["of"])
        for _, _, e in _edges(graph, "restriction")
        if e["stated_by"] == "operator:unbind"
    }
    is_vit = "operator:unbind" in graph
    assert parts == ({(0, 1, 3), (1, 1, 3), (2, 1, 3)} if is_vit else set())


def test_axes_have_the_sizes_of_the_shape(traced: Traced) -> None:
    graph = dependency_graph(traced)
    checked = 0
    for name, shape in traced.captured.shapes.items():
        sizes: dict[int, list[int]] = {}
        for _, index_set, edge in graph.out_edges(f"parameter:{name}", data=True):
            if edge["relation"] == "axis":
                sizes.setdefault(edge["axis"], []).append(graph.nodes[index_set]["size"])
        if graph.nodes[f"parameter:{name}"]["used"] and shape:
            assert [prod(sizes.get(n, [])) for n in range(len(shape))] == list(shape)
            checked += 1
    assert checked > 50


def test_every_stated_relation_and_cause_is_an_edge(traced: Traced) -> None:
    graph = dependency_graph(traced)
    held = {
        (a, b, e["relation"], e["operator"])
        for a, b, e in graph.edges(data=True)
        if e["relation"] in RELATIONS
    }
    for r in traced.sets.relations:
        ends = (r.right, r.left) if r.kind == "restriction" else (r.left, r.right)
        assert (set_node(ends[0]), set_node(ends[1]), r.kind, r.operator) in held
    fixed = {(a, e["operator"]) for a, _, e in _edges(graph, "fixed")}
    assert fixed == {(set_node(a), c.operator) for a, c in traced.sets.causes.items()}


def test_equalities_connect_exactly_the_classes(traced: Traced) -> None:
    graph = dependency_graph(traced)
    equal = nx.Graph()
    equal.add_nodes_from(n for n, kind in graph.nodes(data="kind") if kind == "index_set")
    equal.add_edges_from((a, b) for a, b, _ in _edges(graph, "equality"))
    for component in nx.connected_components(equal):
        assert len({graph.nodes[n]["same_as"] for n in component}) == 1
    classes = len({graph.nodes[n]["same_as"] for n in equal})
    assert nx.number_connected_components(equal) == classes


def test_data_flows_from_the_input_to_the_output(traced: Traced) -> None:
    graph = dependency_graph(traced)
    flow = nx.DiGraph()
    flow.add_edges_from((a, b) for r in ("reads", "writes") for a, b, _ in _edges(graph, r))
    assert nx.is_directed_acyclic_graph(flow)
    assert nx.has_path(flow, "input:x", "output")
    used = [f"parameter:{n}" for n in traced.captured.shapes if n not in traced.unused]
    moving = [p for p in used if graph.nodes[p]["shape"]]
    assert all(nx.has_path(flow, p, "output") for p in moving if "running" not in p)


def test_graphml_round_trip(traced: Traced, tmp_path: Path) -> None:
    graph = dependency_graph(traced)
    write_graph(graph, tmp_path / "net.graphml")
    again = nx.read_graphml(tmp_path / "net.graphml", force_multigraph=True)
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))

    def order(edge: tuple[str, str, dict[str, object]]) -> str:
        return repr((edge[0], edge[1], sorted(edge[2].items())))

    assert sorted(map(order, again.edges(data=True))) == sorted(map(order, graph.edges(data=True)))
    assert [p.name for p in tmp_path.iterdir()] == ["net.graphml"]


@pytest.mark.parametrize(
    ("name", "what"),
    [("net.png", "graphml"), ("missing/net.graphml", "cannot be written")],
)
def test_writing_fails_cleanly(
    gated: nx.MultiDiGraph, tmp_path: Path, name: str, what: str
) -> None:
    with pytest.raises(ZooalignError, match=what):
        write_graph(gated, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    path.write_text("before")
    bad = nx.MultiDiGraph()
    bad.add_node("a", thing=object())  # GraphML has no such type
    with pytest.raises(nx.NetworkXError):
        write_graph(bad, path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["net.graphml"]


def test_operators_without_a_rule_are_named() -> None:
    module = Wrapped(nn.Linear(4, 4), lambda layer, x: torch.linalg.cholesky(layer(x)))
    traced = _traced(module, 4, 4)
    assert traced.unknown_operators
    graph = dependency_graph(traced)
    culprits = {
        b for _, b, e in _edges(graph, "fixed") if e["cause_kind"] == "operator not understood"
    }
    assert len(culprits) == 1
    assert graph.nodes[culprits.pop()]["operator"] in traced.unknown_operators
