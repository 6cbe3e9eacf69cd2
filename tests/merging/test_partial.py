"""Partial merging: all pairs merged is the average, none is both models side by side."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models.small import TiedEmbedding
from sample_models.widths import Attention, Mixed, convolutions, mlp, normed
from torch import Tensor, nn

import zooalign
from zooalign.errors import MergeError
from zooalign.matching.widths import pad_to
from zooalign.merging import average
from zooalign.merging.pairs import pair_similarity
from zooalign.merging.partial import PartialMerge, partial_merge
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.trial import outputs, random_inputs, random_state

pytestmark = pytest.mark.slow

State = dict[str, Tensor]

CASES: list[tuple[Any, tuple[Tensor, ...]]] = [
    (mlp, (torch.zeros(4, 5),)),
    (convolutions, (torch.zeros(2, 3, 6, 6),)),
    (Mixed, (torch.zeros(3, 4),)),
]


def pair(module: nn.Module, seed: int = 0) -> tuple[State, State]:
    return random_state(module, seed), random_state(module, seed + 1)


def run(found: PartialMerge, inputs: tuple[Any, ...]) -> list[Tensor]:
    return outputs(found.module, found.state, inputs)


@pytest.mark.parametrize(("build", "example"), CASES)
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.8)])
def test_the_ends(build: Any, example: tuple[Tensor, ...], weights: tuple[float, float]) -> None:
    module = build().eval()
    a, b = pair(module)
    inputs = random_inputs(example, 4)
    options = {"module": module, "example_inputs": example, "weights": weights}
    whole = partial_merge(a, b, **options)
    expected = average([a, b], weights)
    assert all(torch.equal(whole.state[n], expected[n]) for n in expected)
    assert whole.parameters == 1.0 and not whole.widths
    beside = partial_merge(a, b, **options, merged=0.0)
    assert not beside.refused and len(beside.widths) == len(
        zooalign.extract_spec(module, *example).groups
    )
    assert all(after == 2 * before for before, after in beside.widths.values())
    ends = [outputs(module, state, inputs)[0] for state in (a, b)]
    ensemble = weights[0] * ends[0] + weights[1] * ends[1]
    assert relative_error([ensemble], run(beside, inputs)) < 1e-12
    # The module that comes with it is the merge: no wrapper is needed.
    held = beside.module.state_dict()
    assert all(torch.equal(held[n], t.to(held[n])) for n, t in beside.state.items())


@settings(max_examples=10, deadline=None, derandomize=True)
@given(shares=st.tuples(*[st.sampled_from([0.0, 0.3, 0.5, 1.0])] * 2), seed=st.integers(0, 99))
def test_equal_models_stay_themselves_at_any_share(shares: tuple[float, float], seed: int) -> None:
    module = mlp(7, 5).eval()
    state = random_state(module, seed)
    example = (torch.zeros(4, 5),)
    merged = dict(zip(("0.weight:0", "3.weight:0"), shares, strict=True))
    found = partial_merge(state, state, module=module, example_inputs=example, merged=merged)
    for group, (before, after) in found.widths.items():
        assert after == 2 * before - round(merged[group] * before)
    inputs = random_inputs(example, seed)
    assert relative_error(outputs(module, state, inputs), run(found, inputs)) < 1e-12


def test_units_that_are_alike_are_merged_first() -> None:
    module = mlp(8, 6).eval()
    a, b = pair(module)
    for name in (
        "0.weight",
        "0.bias",
        *(n for n in a if n.startswith("1.r")),
        "1.weight",
        "1.bias",
    ):
        b[name] = b[name].clone()
        b[name][:3] = a[name][:3]
    b["3.weight"] = b["3.weight"].clone()
    b["3.weight"][:, :3] = a["3.weight"][:, :3]
    example = (torch.zeros(4, 5),)
    found = partial_merge(a, b, module=module, example_inputs=example, merged={"0.weight:0": 3 / 8})
    assert found.merged["0.weight:0"].nonzero()[0].tolist() == [0, 1, 2]
    assert found.widths == {"0.weight:0": (8, 13)}
    # The kept rows are the models' own.
    assert torch.equal(found.state["0.weight"][:8], a["0.weight"])
    assert torch.equal(found.state["0.weight"][8:], b["0.weight"][3:])
    assert torch.equal(found.state["3.weight"][:, 8:], b["3.weight"][:, 3:] / 2)
    spec = zooalign.extract_spec(module, *example)
    data = [torch.randn(300, 5)]
    a, b = ({n: t.float() if t.is_floating_point() else t for n, t in s.items()} for s in (a, b))
    seen = pair_similarity(spec, a, b, module=module, data=data)["0.weight:0"]
    assert seen[:3] == pytest.approx([1.0] * 3) and (seen[3:] < 0.999).all()


def test_up_to_a_group_the_rest_is_side_by_side() -> None:
    module = mlp(8, 6).eval()
    a, b = pair(module)
    b = {**b, **{n: a[n] for n in a if n[0] in "01"}}  # one trunk
    example, inputs = (torch.zeros(4, 5),), random_inputs((torch.zeros(4, 5),), 1)
    found = partial_merge(a, b, module=module, example_inputs=example, up_to="0.weight:0")
    assert found.widths == {"3.weight:0": (6, 12)}
    ensemble = sum(outputs(module, s, inputs)[0] for s in (a, b)) / 2
    assert relative_error([ensemble], run(found, inputs)) < 1e-12


def test_a_budget_buys_apart_what_is_least_alike() -> None:
    module = mlp(8, 6).eval()
    a, b = pair(module)
    example = (torch.zeros(4, 5),)
    spec = zooalign.extract_spec(module, *example)
    similarity = {g.id: np.linspace(0.1, 0.9, g.size) for g in spec.groups}
    similarity["3.weight:0"] = similarity["3.weight:0"] + 1  # all more alike than the others
    options = {"module": module, "example_inputs": example, "similarity": similarity}
    sizes = []
    for budget in (1.0, 1.3, 1.6, 2.2, 4.0):
        found = partial_merge(a, b, **options, budget=budget)
        assert found.parameters <= budget
        apart = [int((~found.merged[g]).sum()) for g in ("0.weight:0", "3.weight:0")]
        assert apart[1] == 0 or apart[0] == 8
        assert not found.merged["0.weight:0"][: apart[0]].any()
        sizes.append(sum(apart))
    assert sizes == sorted(sizes) and sizes[0] == 0 and sizes[-1] == 14
    with pytest.raises(MergeError, match="less than one model has"):
        partial_merge(a, b, **options, budget=0.5)
    with pytest.raises(MergeError, match="not both"):
        partial_merge(a, b, **options, budget=2.0, merged=0.5)


@pytest.mark.parametrize(
    ("norm", "operator"),
    [
        (nn.LayerNorm, "layer_norm"),
        (nn.RMSNorm, "rms_norm"),
        (lambda n: nn.GroupNorm(1, n), "group_norm"),
        (lambda n: nn.Softmax(-1), "softmax"),
    ],
)
def test_a_norm_over_units_refuses_more_of_them(norm: Any, operator: str) -> None:
    module = normed(norm=norm).eval()
    a, b = pair(module)
    example = (torch.zeros(4, 5),)
    group = zooalign.extract_spec(module, *example).groups[0].id
    found = partial_merge(a, b, module=module, example_inputs=example, merged=0.5)
    assert list(found.widths) == ["3.weight:0"] and operator in found.refused[group]
    with pytest.raises(MergeError, match=rf"pairs of '{group}' cannot be kept apart: .*{operator}"):
        partial_merge(a, b, module=module, example_inputs=example, merged={group: 0.5})


def test_sizes_in_the_forward_pass_and_heads_are_refused() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x).view(-1, 8).relu()
            return self.three(self.two(x).relu())

    module, example = Written().eval(), (torch.zeros(4, 5),)
    found = partial_merge(*pair(module), module=module, example_inputs=example, merged=0.5)
    assert list(found.refused) == ["one.weight:0"] and list(found.widths) == ["two.weight:0"]
    heads, example = Attention().eval(), (torch.zeros(2, 4, 5),)
    found = partial_merge(*pair(heads), module=heads, example_inputs=example, merged=0.0)
    assert list(found.widths) == ["embed.weight:0"]
    assert all("nested" in reason for reason in found.refused.values()) and found.refused


def test_units_without_a_partner_stay_as_they_are() -> None:
    """A wide and a narrow model: where the narrow one is part of the wide one, nothing is lost."""
    wide, narrow, example = mlp(9, 7).eval(), mlp(6, 5).eval(), (torch.zeros(4, 5),)
    a, b = random_state(wide, 0), random_state(narrow, 1)
    padded = pad_to(narrow, wide, b, example)
    found = partial_merge(a, padded, module=wide, example_inputs=example)
    assert found.parameters == 1.0
    # Units with no partner are made as they were, and read with the first model's weight.
    assert torch.equal(found.state["0.weight"][6:], a["0.weight"][6:])
    assert torch.equal(found.state["5.weight"][:, 5:], a["5.weight"][:, 5:] / 2)
    assert torch.equal(found.state["0.weight"][:6], (a["0.weight"][:6] + b["0.weight"]) / 2)
    inputs = random_inputs(example, 2)
    beside = partial_merge(a, padded, module=wide, example_inputs=example, merged=0.0)
    assert beside.widths == {"0.weight:0": (9, 15), "3.weight:0": (7, 12)}
    ensemble = (outputs(wide, a, inputs)[0] + outputs(narrow, b, inputs)[0]) / 2
    assert relative_error([ensemble], run(beside, inputs)) < 1e-12


def test_a_tied_tensor_is_refused() -> None:
    module, example = TiedEmbedding().eval(), (torch.arange(4)[None],)
    found = partial_merge(*pair(module), module=module, example_inputs=example, merged=0.5)
    assert not found.widths and all("reads them too" in why for why in found.refused.values())
    narrow = TiedEmbedding(width=4).eval()
    padded = pad_to(narrow, module, random_state(narrow, 0), example)
    with pytest.raises(MergeError, match="without a partner cannot stay"):
        partial_merge(random_state(module, 1), padded, module=module, example_inputs=example)


def test_arguments() -> None:
    module, example = mlp().eval(), (torch.zeros(4, 5),)
    a, b = pair(module)
    options = {"module": module, "example_inputs": example}
    with pytest.raises(MergeError, match="two positive weights"):
        partial_merge(a, b, **options, weights=(1.0, 0.0))
    with pytest.raises(MergeError, match="no group 'nothing'"):
        partial_merge(a, b, **options, merged={"nothing": 0.5})
    with pytest.raises(MergeError, match=r"is 1.5, not in 0 to 1"):
        partial_merge(a, b, **options, merged={"0.weight:0": 0.5, "3.weight:0": 1.5})
    with pytest.raises(MergeError, match="8 finite numbers"):
        partial_merge(
            a, b, **options, merged={"0.weight:0": 0.5}, similarity={"0.weight:0": np.ones(3)}
        )
    with pytest.raises(MergeError, match=r"lacks '5\.bias'"):
        partial_merge(a, {n: t for n, t in b.items() if n != "5.bias"}, **options)
