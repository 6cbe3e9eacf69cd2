"""The numeric proof: it passes true specs, fails false ones, and leaves the module alone."""

from dataclasses import replace

import pytest
import timm
import torch
from msgspec import structs
from sample_models import CASES
from sample_models.mutants import caught, mutants
from sample_models.small import TwoLayers, Wrapped
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.symmetry import Block, Group, Member, extract_spec, verify
from zooalign.symmetry.trial import random_state

ARCHITECTURES = ["resnet18", "vit_tiny_patch16_224", "convnext_atto"]
SAMPLES = ["cifar_resnet20", "grouped_query_expand", "experts_einsum", "densenet", "res2net"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_one_axis_tied_wrongly_is_caught(name: str) -> None:
    """Each member dropped or turned, each nested group flattened, each frozen axis freed."""
    module, inputs = CASES[name].build(), CASES[name].inputs()
    spec = extract_spec(module, inputs)
    # A softmax over the keys does not see what is added to all of them: their bias.
    found = [m for m in mutants(spec) if not m[0].endswith("attention.k.bias")]
    for what, wrong in found[:: max(1, len(found) // 12)]:
        assert caught(module, wrong, inputs, seeds=10), what


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_axis_tied_wrongly_is_caught_in_real_architectures(name: str) -> None:
    module = timm.create_model(name)
    inputs = (torch.zeros(1, 3, 224, 224) if "vit" in name else torch.zeros(1, 3, 64, 64),)
    spec = extract_spec(module, inputs)
    group = max(spec.groups, key=lambda g: len(g.members))
    number = spec.groups.index(group)
    kept = structs.replace(group, members=group.members[:-1])
    wrong = replace(spec, groups=(*spec.groups[:number], kept, *spec.groups[number + 1 :]))
    assert verify(module, spec, inputs).ok
    proof = verify(module, wrong, inputs)
    assert not proof.ok
    assert proof.max_relative_error > 1e6 * proof.tolerance


def test_a_module_that_is_finite_in_float32_alone_is_checked_in_it() -> None:
    """Masks by the lowest number of a dtype, in float32: of float64 it is infinite there."""

    class Masked(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self[0](x)
            mask = torch.zeros(6, dtype=torch.float32, device=x.device)
            return self[1](hidden + mask * torch.finfo(hidden.dtype).min)

    module, inputs = Masked(nn.Linear(4, 6), nn.Linear(6, 2)), (torch.zeros(3, 4),)
    found = verify(module, extract_spec(module, inputs), inputs)
    assert found.ok
    assert found.tolerance > torch.finfo(torch.float32).eps


def test_the_tolerance_follows_the_lowest_precision() -> None:
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
    assert 1e-13 < fine.tolerance < 1e-11
    assert 1e-5 < coarse.tolerance < 1e-4


def test_a_check_that_can_see_nothing_does_not_pass() -> None:
    module = Wrapped(nn.Linear(4, 6), lambda layer, x: x + 0 * layer(x).sum())
    inputs = (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.groups
    proof = verify(module, spec, inputs)
    assert proof.max_relative_error == 0.0
    assert proof.sensitivity == 0.0
    assert not proof.ok


def test_alone_checks_as_many_groups_as_asked() -> None:
    module, inputs = CASES["cifar_resnet20"].build(), CASES["cifar_resnet20"].inputs()
    spec = extract_spec(module, inputs)
    assert verify(module, spec, inputs).groups == 0
    assert verify(module, spec, inputs, alone=3).groups == 3
    assert verify(module, spec, inputs, alone=10**6).groups == len(spec.groups)
    assert verify(module, spec, inputs, alone=True).groups == len(spec.groups)


def test_the_worst_group_is_named() -> None:
    module, inputs = CASES["mlp"].build(), CASES["mlp"].inputs()
    spec = extract_spec(module, inputs)
    free = Member("4.weight", 0, (0,), (Block(0, 3, 0, 1),))
    wrong = replace(spec, groups=(*spec.groups, Group("outputs", 3, (free,))))
    worst = {verify(module, wrong, inputs, alone=True, seed=seed).worst for seed in range(8)}
    assert worst <= {"outputs", "all"} and "outputs" in worst


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


def test_an_output_that_is_not_finite_proves_nothing() -> None:
    class Infinite(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 0

    module, inputs = Infinite(3, 2), (torch.zeros(1, 3),)
    with pytest.raises(SpecError, match="no finite floating output"):
        verify(module, extract_spec(module, inputs), inputs)


def logistic(hidden: Tensor) -> Tensor:
    """A logistic map: each step doubles what rounding did."""
    mean = torch.sigmoid(hidden).mean(-1, keepdim=True)
    for _ in range(24):
        mean = 4 * mean * (1 - mean)
    return mean * hidden


def test_a_module_that_amplifies_rounding_is_no_mistake() -> None:
    module, inputs = TwoLayers(logistic, (4, 64, 2)), (torch.zeros(8, 4),)
    spec = extract_spec(module, inputs)
    proof = verify(module, spec, inputs)
    assert proof.ok, proof
    assert 1e-11 < proof.tolerance <= 1e-6
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
    assert proof.ok and proof.sensitivity > 0.01
