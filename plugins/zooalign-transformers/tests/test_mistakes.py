"""Groups that look right and are wrong are caught, and the message names what is concerned."""

import dataclasses

import pytest
from hf_forms import L
from msgspec import structs
from zooalign.release.opening import derive_for
from zooalign.symmetry import PermutationSpec, verify
from zooalign.symmetry.groups import Block, Group, Member
from zooalign.zoo.models import open_model

SIZES = "vocab_size=99&hidden_size=64&num_hidden_layers=1&intermediate_size=48"
LLAMA = (
    f"transformers:llama?task=causal-lm&{SIZES}"
    "&num_attention_heads=8&num_key_value_heads=2&head_dim=8"
)
MIXTRAL = (
    f"transformers:mixtral?task=causal-lm&{SIZES}&num_attention_heads=4&num_key_value_heads=2&"
    "num_local_experts=4&num_experts_per_tok=2"
)


def _with_group(spec: PermutationSpec, group: Group) -> PermutationSpec:
    return dataclasses.replace(spec, groups=(group,))


def _rows(parameter: str, axis: int, size: int, count: int) -> Member:
    """``count`` units of ``size / count`` consecutive positions."""
    width = size // count
    return Member(parameter, axis, (axis,), (Block(0, count, 0, width, (), ((width, 1),)),))


def test_a_flat_permutation_of_grouped_query_heads() -> None:
    """Eight query heads on two key heads: any order of the eight would be wrong."""
    model = open_model(LLAMA)
    module, inputs = model.build(), model.example_inputs(2)
    derived = derive_for(model, module)
    attention = "model.layers.0.self_attn"
    flat = Group(
        id=f"{attention}.q_proj.weight:0",
        size=8,
        members=(
            _rows(f"{attention}.q_proj.weight", 0, 64, 8),
            _rows(f"{attention}.o_proj.weight", 1, 64, 8),
        ),
    )
    found = verify(module, _with_group(derived.spec, flat), inputs)
    assert found.verdict == "refuted"
    assert found.max_relative_error > 1e-3
    assert "'model.layers.0.self_attn.q_proj.weight:0'" in found.why
    # The true group: two key heads, four query heads in each.
    heads = [
        g
        for g in derived.spec.groups
        if g.size in (2, 4) and not g.members[0].parameter.endswith("experts")
    ]
    assert sorted(g.structure for g in heads) == [
        "S_2",
        f"S_4 in each of 2 ({heads[0].id if heads[0].size == 2 else heads[1].id})",
    ]


@pytest.mark.slow
def test_experts_without_their_router() -> None:
    model = open_model(MIXTRAL)
    module, inputs = model.build(), model.example_inputs(2)
    spec = derive_for(model, module).spec
    (experts,) = (
        g for g in spec.groups if any("experts" in m.parameter for m in g.members) and g.size == 4
    )
    router = [m for m in experts.members if "gate.weight" in m.parameter]
    assert router, [m.parameter for m in experts.members]
    assert verify(module, _with_group(spec, experts), inputs).ok
    without = structs.replace(experts, members=tuple(m for m in experts.members if m not in router))
    found = verify(module, _with_group(spec, without), inputs)
    assert found.verdict == "refuted"
    assert found.max_relative_error > 1e-3
    assert f"'{without.id}'" in found.why  # named after a parameter it stands in


def test_units_of_experts_are_their_own() -> None:
    spec = derive_for(m := open_model(MIXTRAL), m.build()).spec
    units = [g for g in spec.groups if g.size == 48]
    assert [g.structure.partition(" (")[0] for g in units] == ["S_48 in each of 4"]
    assert units[0].log10_order == pytest.approx(4 * L(48))
