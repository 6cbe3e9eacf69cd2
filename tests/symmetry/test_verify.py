"""The proof passes true specs, refutes false ones with the place, and leaves the module alone."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from msgspec import structs
from sample_models import CASES
from sample_models.mutants import caught, mutants
from sample_models.small import Amplifying, Function, TwoLayers
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from zooalign.symmetry import Block, Group, Member, derive_spec, extract_spec, verify
from zooalign.symmetry.converse import converse
from zooalign.symmetry.same_function import compare_functions
from zooalign.symmetry.trial import random_state

# With a few of their repeated blocks.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 2},
    "convnext_atto": {"depths": (1, 1, 2, 1)},
}
SAMPLES = ["cifar_resnet20", "grouped_query_expand", "experts_einsum", "densenet", "res2net"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_one_axis_tied_wrongly_is_caught(name: str) -> None:
    """Each member dropped or turned, each nested group flattened, each frozen axis freed."""
    module, inputs = CASES[name].build(), CASES[name].inputs()
    derived = derive_spec(module, inputs)
    spec = derived.spec
    # A softmax over the keys does not see what is added to all of them: their bias.
    found = [m for m in mutants(spec) if not m[0].endswith("attention.k.bias")]
    for what, wrong in found[:: max(1, len(found) // 9)]:
        assert caught(module, wrong, inputs, seeds=10, derived=derived), what


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_axis_tied_wrongly_is_caught_in_real_architectures(name: str) -> None:
    module = timm.create_model(name, **ARCHITECTURES[name])
    inputs = (torch.zeros(2, 3, 64, 64),)
    derived = derive_spec(module, inputs)
    spec = derived.spec
    group = max(spec.groups, key=lambda g: len(g.members))
    number = spec.groups.index(group)
    kept = structs.replace(group, members=group.members[:-1])
    wrong = replace(spec, groups=(*spec.groups[:number], kept, *spec.groups[number + 1 :]))
    assert verify(module, spec, inputs, derived=derived).ok
    proof = verify(module, wrong, inputs, derived=derived)
    assert not proof.ok
    assert proof.verdict == "refuted" and proof.max_relative_error > 1e-3


def test_a_module_that_is_finite_in_float32_alone_is_checked_in_it() -> None:
    """Masks by the lowest number of a dtype, in float32: of float64 it is infinite there."""

    class Masked(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self[0](x)
            mask = torch.zeros(6, dtype=torch.float32, device=x.device)
            return self[1](hidden + mask * torch.finfo(hidden.dtype).min)

    module, inputs = Masked(nn.Linear(4, 6), nn.Linear(6, 2)), (torch.zeros(3, 4),)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.ok, found


def test_a_step_in_float32_is_no_excuse() -> None:
    class Mixed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self[0](x)
            return self[1](hidden.float().relu().to(hidden.dtype))

    exact = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    mixed = Mixed(nn.Linear(4, 6), nn.Linear(6, 2))
    inputs = (torch.zeros(3, 4),)
    fine = verify(exact, extract_spec(exact, inputs), inputs)
    coarse = verify(mixed, extract_spec(mixed, inputs), inputs)
    assert fine.ok and coarse.ok
    assert fine.max_relative_error < 1e-14 and coarse.max_relative_error < 1e-14


def test_the_module_is_left_as_it_was() -> None:
    module, inputs = CASES["vgg_flatten"].build().train(), CASES["vgg_flatten"].inputs()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    spec = extract_spec(module, inputs)
    verify(module, spec, inputs)
    assert all(m.training for m in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.get_default_dtype() == torch.float32


def test_meta_modules_are_verified_on_random_values() -> None:
    with torch.device("meta"):
        module = CASES["vgg_flatten"].build()
    inputs = tuple(x.to("meta") for x in CASES["vgg_flatten"].inputs())
    assert verify(module, extract_spec(module, inputs), inputs).ok


def test_a_constant_that_a_forward_pass_creates_on_meta_has_no_value_to_prove_by() -> None:
    def step(hidden: Tensor) -> Tensor:
        return hidden + torch.tensor([1.0, 2.0, 3.0])[:, None].repeat(1, 2).flatten()

    with torch.device("meta"):
        spec = extract_spec(TwoLayers(step), (torch.zeros(3, 4),), prove=True)
    assert spec.proof is not None
    assert spec.proof.verdict == "not shown"
    assert "has no value" in spec.proof.why


def test_random_state_hides_nothing() -> None:
    """No zero and no one: initial values would let mistakes pass."""
    module = CASES["layer_scale"].build()
    state = random_state(module, 0)
    assert state.keys() == module.state_dict().keys()
    for name, value in state.items():
        assert value.dtype == torch.float64
        assert value.abs().min() > 0, name
        assert value.unique().numel() == value.numel(), name
    tied = random_state(CASES["tied_embedding"].build(), 0)
    assert tied["embed.weight"] is tied["unembed.weight"]
    assert not torch.equal(random_state(module, 1)["gamma"], state["gamma"])


def test_a_module_that_amplifies_rounding_is_no_mistake() -> None:
    module, inputs = Amplifying(), (torch.zeros(8, 4),)
    spec = extract_spec(module, inputs)
    proof = verify(module, spec, inputs)
    assert proof.ok, proof
    assert proof.max_relative_error < 1e-13
    (group,) = spec.groups
    wrong = replace(spec, groups=(structs.replace(group, members=group.members[:-1]),))
    assert not verify(module, wrong, inputs).ok


def test_bounds_stay_bounds() -> None:
    """Random bounds in the wrong order would let nothing through, and hide every mistake."""
    bounds = {"min": torch.tensor(-torch.inf), "max": torch.tensor(torch.inf)}
    module, inputs = TwoLayers(torch.clamp, (3, 6, 2), **bounds), (torch.zeros(4, 3),)
    for seed in range(20):
        state = random_state(module, seed)
        assert state["min"] < -2 and state["max"] > 2
    proof = verify(module, extract_spec(module, inputs), inputs)
    assert proof.ok


WRAPPED: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "a part": lambda net: nn.Sequential(checkpoint_wrapper(net[0]), net[1], net[2]),
    "the whole": checkpoint_wrapper,
    "several devices": nn.DataParallel,
}


@pytest.mark.parametrize("what", WRAPPED)
def test_a_wrapper_whose_state_dict_has_other_names(what: str) -> None:
    module = WRAPPED[what](nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval())
    inputs = (torch.zeros(3, 4),)
    derived = derive_spec(module, inputs)
    spec = derived.spec
    assert verify(module, spec, inputs, derived=derived).ok
    assert converse(module, derived, inputs).ok
    state = module.state_dict()
    assert compare_functions(module, state, spec.apply(spec.random(0), state), inputs).ok
    (group,) = spec.groups
    wrong = replace(spec, groups=(structs.replace(group, members=group.members[:-1]),))
    assert verify(module, wrong, inputs).verdict == "refuted"
    moved = wrong.apply(wrong.random(0), state)
    assert not compare_functions(module, state, moved, (torch.ones(3, 4),)).ok


def members(size: int, *places: tuple[str, int]) -> Group:
    """A group of ``size`` units that stand along one axis of each of these tensors."""
    blocks = (Block(0, size, 0, 1),)
    return Group(
        f"{places[0][0]}:{places[0][1]}", size, tuple(Member(p, a, (a,), blocks) for p, a in places)
    )


class Branches(nn.Module):
    """Hidden units that the first output reads, and others whose use ``join`` says."""

    def __init__(self, join: Callable[..., Any]) -> None:
        super().__init__()
        self.w, self.o = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(2, 6))
        self.v, self.u = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(2, 6))
        self.join = join

    def forward(self, x: Tensor) -> Any:
        plain = F.linear(F.linear(x, self.w).tanh(), self.o)
        return self.join(plain, F.linear(x, self.v), self.u)


def small(plain: Tensor, hidden: Tensor, u: Tensor) -> Tensor:
    return plain + 1e-5 * F.linear(hidden.tanh(), u).float().to(plain.dtype)


def small_part(plain: Tensor, hidden: Tensor, u: Tensor) -> Tensor:
    part = F.linear(hidden.tanh(), u).float().to(plain.dtype)
    return torch.cat([1e6 * plain, part], 1)


HIDING: dict[str, Callable[..., Any]] = {
    "an integer output": lambda plain, hidden, _: (plain, hidden.argmax(-1)),
    "a truth value": lambda plain, hidden, _: (plain, hidden > 0),
    "a complex output": lambda plain, hidden, _: (plain, torch.complex(hidden, hidden.sin())),
    "a small branch in float32": small,
    "a small part of one output": small_part,
}


@pytest.mark.parametrize("what", HIDING)
def test_a_wrong_group_hides_behind_no_output(what: str) -> None:
    module, inputs = Branches(HIDING[what]), (torch.randn(3, 5),)
    right = extract_spec(module, inputs)
    assert verify(module, right, inputs).ok
    groups = (members(6, ("v", 0)), members(6, ("w", 0), ("o", 1)))
    found = verify(module, replace(right, groups=groups, fixed_sets={}), inputs)
    assert (found.verdict == "refuted" and "'v:0'" in found.why) or "whole spec" in found.why, found


def test_a_group_of_two_is_moved_whatever_is_drawn() -> None:
    module, inputs = TwoLayers(torch.tanh, (5, 2, 2)), (torch.zeros(3, 5),)
    spec = extract_spec(module, inputs)
    (group,) = spec.groups
    wrong = replace(spec, groups=(structs.replace(group, members=group.members[:1]),))
    for seed in range(4):
        assert verify(module, wrong, inputs, seed=seed).verdict == "refuted"


def test_tokens_of_an_example_are_drawn_anew() -> None:
    """All zero, every row of attention would be the same."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e = nn.Parameter(torch.randn(11, 8))
            self.q, self.k, self.v = (nn.Parameter(torch.randn(8, 8)) for _ in range(3))
            self.o = nn.Parameter(torch.randn(3, 8))

        def forward(self, x: Tensor) -> Tensor:
            t = self.e[x]
            parts = (F.linear(t, p) for p in (self.q, self.k, self.v))
            return F.linear(t + F.scaled_dot_product_attention(*parts, is_causal=True), self.o)

    module, inputs = Attention(), (torch.zeros(2, 5, dtype=torch.long),)
    spec = extract_spec(module, inputs)
    assert verify(module, spec, inputs).ok
    wrong = replace(spec, groups=(members(8, ("q", 0)), *spec.groups[:0]), fixed_sets={})
    assert verify(module, wrong, inputs).verdict == "refuted"


class Counted(nn.Module):
    """A buffer that each call changes, and reads."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.w, self.o = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(2, 6))
        self.register_buffer("n", torch.zeros(size))
        self.n: Tensor
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.step(F.linear(x, self.w), self.n).tanh(), self.o)


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "a counter": lambda: Counted(lambda h, n: h * n.add_(1), 1),
    "a running mean": lambda: Counted(lambda h, n: h - n.mul_(0.5).add_(h.mean(0), alpha=0.5), 6),
    "noise": lambda: TwoLayers(lambda h: h + torch.randn(3, 1).to(h.dtype), (5, 6, 2)),
    "dropout": lambda: TwoLayers(lambda h: F.dropout(h, 0.5), (5, 6, 2)),
    "a step in float16": lambda: TwoLayers(lambda h: h.half().to(h.dtype), (5, 6, 2)),
    "a step in bfloat16": lambda: TwoLayers(lambda h: h.bfloat16().to(h.dtype), (5, 6, 2)),
    "a branch": lambda: TwoLayers(
        lambda h: torch.cond(h.sum() > 0, torch.sin, torch.cos, (h,)), (5, 6, 2)
    ),
}


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_spec_is_not_called_wrong(what: str) -> None:
    module, inputs = RIGHT[what](), (torch.randn(3, 5),)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.ok, found


def test_nested_inputs_and_what_a_network_keeps_are_compared() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)

        def forward(self, parts: dict[str, Tensor]) -> Any:
            hidden = self.first(parts["x"] + parts["more"]).relu()
            return {"logits": self.last(hidden), "cache": [(parts["x"], hidden.sum(-1))]}

    module, inputs = Cached(), ({"x": torch.randn(3, 5), "more": torch.randn(3, 5)},)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.ok, found


def test_depth_amplifies_nothing() -> None:
    layers = [layer for _ in range(40) for layer in (nn.Linear(16, 16), Function(triple_sine))]
    module, inputs = nn.Sequential(nn.Linear(5, 16), *layers, nn.Linear(16, 2)), (torch.ones(3, 5),)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.ok and found.max_relative_error < 1e-13, found


def triple_sine(x: Tensor) -> Tensor:
    return (3 * x).sin()


def test_a_graph_that_is_not_the_module_is_not_shown() -> None:
    """A step outside of the graph: Python counts the calls."""
    calls = count(1)
    module, inputs = TwoLayers(lambda hidden: hidden * next(calls), (5, 6, 2)), (torch.ones(3, 5),)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.verdict != "proved" and found.why, found
