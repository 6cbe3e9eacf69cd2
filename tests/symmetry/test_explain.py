"""Explanations are ways in the dependency graph, and say what the spec says."""

import itertools
import json
from pathlib import Path

import networkx as nx
import pytest
import timm
import torch
from sample_models.attention import Fused
from sample_models.small import Function, TiedEmbedding
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.dependency import RELATIONS, dependency_graph
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.explain import explain
from zooalign.symmetry.explanation import Explanation, Step
from zooalign.symmetry.extract import derive_spec

pytestmark = pytest.mark.slow


class Counted(nn.Module):
    """A hidden axis whose order matters to an operator in a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 8)
        self.total = Function(lambda x: x.cumsum(-1))
        self.head = nn.Linear(8, 2)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.total(self.first(x).relu())).relu())


def _derive(module: nn.Module, *shape: int) -> Derived:
    return derive_spec(module, (torch.zeros(*shape),))


@pytest.fixture(scope="module")
def attention() -> Derived:
    return _derive(Fused("3hd", stream=6, heads=2, dims=4), 1, 5, 6)


@pytest.fixture(scope="module")
def counted() -> Derived:
    return _derive(Counted(), 1, 4)


@pytest.fixture(scope="module", params=["test_vit", "resnet18", "densenet121"])
def derived(request: pytest.FixtureRequest) -> Derived:
    shallow = {"block_config": (3, 3, 3, 3)} if request.param == "densenet121" else {}
    return _derive(timm.create_model(request.param, **shallow), 2, 3, 160, 160)


@pytest.fixture(scope="module")
def vit() -> Derived:
    return _derive(timm.create_model("test_vit"), 2, 3, 160, 160)


def _stated(graph: nx.MultiDiGraph, step: Step) -> nx.Graph:
    """What the operator of a step says, as a graph of index sets."""
    said = nx.Graph()
    for a, b, e in graph.edges(data=True):
        if (
            e["relation"] in RELATIONS
            and e["stated_by"] == step.node
            and e["relation"] in step.kind.split("+")
        ):
            said.add_edge(a, b)
    return said


def _check_way(graph: nx.MultiDiGraph, start: str, way: tuple[Step, ...]) -> None:
    here = {b for _, b, e in graph.out_edges(start, data=True) if e["relation"] == "axis"}
    for number, step in enumerate(way):
        assert step.source in here
        if step.kind == "fixed":
            assert number == len(way) - 1
            assert step.target in graph.nodes
            assert any(
                e["relation"] == "fixed"
                for e in graph.get_edge_data(step.source, step.target).values()
            )
        else:
            assert nx.has_path(_stated(graph, step), step.source, step.target)
        assert step.operator and step.words
        here = {step.target}


def test_every_way_is_a_way_in_the_graph(derived: Derived) -> None:
    graph = dependency_graph(derived.traced)
    names = list(derived.spec.shapes)
    checked = 0
    for name in names[:: len(names) // 12]:
        for axis in explain(derived, name, graph=graph).axes:
            start = f"parameter:{name}"
            for group in axis.groups:
                _check_way(graph, start, group.units)
                for member in group.members[:4]:
                    assert member.way is not None
                    _check_way(graph, start, member.way)
                    end = member.way[-1].target
                    assert graph.has_edge(f"parameter:{member.parameter}", end)
                    checked += 1
            for frozen in axis.frozen:
                _check_way(graph, start, frozen.way)
                checked += 1
    assert checked > 20


def test_explanations_say_what_the_spec_says(derived: Derived) -> None:
    spec, graph = derived.spec, dependency_graph(derived.traced)
    names = list(spec.shapes)
    for name in names[:: len(names) // 12]:
        for axis in explain(derived, name, graph=graph).axes:
            members = [(g, m) for g, m in spec.by_parameter.get(name, ()) if m.axis == axis.axis]
            assert [g.id for g in axis.groups] == [g.id for g, _ in members]
            for part, (group, _) in zip(axis.groups, members, strict=True):
                told = {(m.parameter, m.axis) for m in part.members} | {(name, axis.axis)}
                assert told == {(m.parameter, m.axis) for m in group.members}
                lengths = [len(m.way) for m in part.members if m.way is not None]
                assert lengths == sorted(lengths)
            frozen = [f for f in spec.frozen if (f.parameter, f.axis) == (name, axis.axis)]
            assert [f.kind for f in axis.frozen] == [f.kind for f in frozen]
            assert all(
                f.way[-1].node.partition(":")[2] in s.operator or f.node == "output"
                for f, s in zip(axis.frozen, frozen, strict=True)
                if f.kind != "single unit"
            )


def _three(explanation: Explanation) -> None:
    """Heads, and in each head query/key dims and value dims, with what ties them."""
    (axis,) = explanation.axes
    heads, *dims = axis.groups
    assert heads.inside == tuple(d.id for d in dims)
    assert [d.over for d in dims] == [(heads.id,), (heads.id,)]
    value, query = sorted(dims, key=lambda d: len(d.ties))
    assert heads.positions == ((0, axis.size),)
    assert query.positions == ((0, axis.size * 2 // 3),)
    assert value.positions == ((axis.size * 2 // 3, axis.size),)
    (tie,) = query.ties
    assert [s.node for s in tie] == ["operator:scaled_dot_product_attention"]
    assert "query axis 3 is key axis 3" in tie[0].words
    assert not value.ties
    assert any(m.parameter.endswith("proj.weight") and m.axis == 1 for m in value.members)
    assert not any(m.parameter.endswith("proj.weight") for m in query.members)
    assert len(heads.ties) == 2


def test_query_key_and_value_dims_are_groups_of_their_own(attention: Derived, vit: Derived) -> None:
    _three(explain(attention, "qkv.weight", 0))
    explanation = explain(vit, "blocks.0.attn.qkv.weight", 0)
    _three(explanation)
    text = explanation.text()
    assert text.count("\n  group ") == 3
    assert "reshape 'reshape_2' in blocks.0.attn: 192 as 3 x 2 x [32]" in text
    assert "in blocks.0.attn: query axis 3 is key axis 3" in text
    assert "unbind in blocks.0.attn: at position 2 of 3" in text
    assert (
        "linear 'linear_1' in blocks.0.attn.proj: one with a factor of "
        "`blocks.0.attn.proj.weight` axis 1" in text
    )


def test_frozen_names_the_operator_and_the_way_to_it(counted: Derived) -> None:
    (axis,) = explain(counted, "first.bias", 0).axes
    (frozen,) = axis.frozen
    assert (frozen.kind, frozen.node) == ("order", "operator:cumsum")
    assert frozen.operator == "cumsum in total"
    assert [s.node for s in frozen.way] == ["operator:linear", "operator:cumsum"]
    # The next layer's input is the frozen set too; its output is free.
    assert explain(counted, "last.weight", 1).axes[0].frozen[0].node == "operator:cumsum"
    assert not explain(counted, "last.weight", 0).axes[0].frozen


@pytest.mark.parametrize(
    ("parameter", "axis", "node", "kind"),
    [
        ("conv1.weight", 1, "input:x", "input"),
        ("layer2.0.conv1.weight", 3, "operator:conv2d_5", "kernel position"),
        ("fc.bias", 0, "output", "output"),
    ],
)
def test_frozen_axes_of_a_resnet(parameter: str, axis: int, node: str, kind: str) -> None:
    derived = _derive(timm.create_model("resnet18"), 2, 3, 64, 64)
    (frozen,) = explain(derived, parameter, axis).axes[0].frozen
    assert (frozen.node, frozen.kind) == (node, kind)
    assert frozen.way[-1].target == node


def test_a_lone_position_names_the_cut(vit: Derived) -> None:
    (axis,) = explain(vit, "pos_embed", 1).axes
    alone = [f for f in axis.frozen if f.kind == "single unit"]
    assert [f.positions for f in alone] == [((0, 1),)]
    assert "position 0 of 101" in alone[0].way[-1].words


def test_nearest_members_come_first(vit: Derived) -> None:
    (axis,) = explain(vit, "blocks.1.mlp.fc1.weight", 0).axes
    (group,) = axis.groups
    assert [(m.parameter, m.axis) for m in group.members] == [
        ("blocks.1.mlp.fc1.bias", 0),
        ("blocks.1.mlp.fc2.weight", 1),
    ]
    stream = explain(vit, "head.weight", 1).text()
    assert " and 58 more" in stream


def test_dict_is_plain_and_whole(vit: Derived) -> None:
    explanation = explain(vit, "blocks.0.attn.qkv.weight")
    plain = explanation.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert set(plain) == {"parameter", "shape", "unused", "tied", "axes"}
    assert plain["shape"] == [192, 64]
    assert set(plain["axes"][0]) == {"axis", "size", "groups", "frozen"}
    steps = itertools.chain(*(m["way"] for g in plain["axes"][0]["groups"] for m in g["members"]))
    keys = {"kind", "source", "target", "node", "operator", "words"}
    assert all(set(step) == keys for step in steps)


def test_unknown_names_and_axes(vit: Derived) -> None:
    with pytest.raises(SpecError, match=r"blocks\.0\.attn\.qkv\.weight"):
        explain(vit, "block.0.attn.qkv.weight")
    with pytest.raises(SpecError, match="has no axis 2: it has axes 0 to 1"):
        explain(vit, "head.weight", 2)
    with pytest.raises(SpecError, match="no axis -1"):
        explain(vit, "head.weight", -1)


def test_unused_scalar_and_tied() -> None:
    module = TiedEmbedding(10, normed=True)
    module.spare = nn.Linear(2, 2)
    derived = derive_spec(module, (torch.zeros(3, dtype=torch.long),))
    tied = explain(derived, "head.weight", 1)
    assert tied.tied == ("embed.weight",)
    (group,) = tied.axes[0].groups
    same = next(m for m in group.members if m.parameter == "embed.weight")
    assert same.way == ()
    assert "the same tensor" in tied.text()
    assert explain(derived, "head.weight", 0).axes[0].frozen
    assert explain(derived, "spare.weight").unused
    assert "no output depends on it" in explain(derived, "spare.weight").text()
    assert "no axes" in explain(derived, "norm.num_batches_tracked").text()


def test_the_documentation_shows_what_is_printed(vit: Derived) -> None:
    document = Path(__file__).parents[2] / "docs" / "extraction.md"
    blocks = document.read_text(encoding="utf-8").split("```text\n")[1:]
    shown = [block.partition("```")[0].strip() for block in blocks]
    assert explain(vit, "blocks.0.attn.qkv.weight", 0).text() in shown
    assert explain(vit, "patch_embed.proj.weight", 1).text() in shown
