"""Comparing functions."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from msgspec import structs
from sample_models.small import Amplifying, TwoLayers
from torch import nn

import zooalign
from zooalign.errors import SpecError, ZooalignWarning
from zooalign.symmetry import Permuted, extract_spec
from zooalign.symmetry.same_function import compare_functions, compare_permuted


def test_a_mis_tied_unit_is_seen_in_every_precision() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    inputs = (torch.randn(4, 8),)
    order = torch.randperm(16)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        state = {name: t.to(dtype) for name, t in module.state_dict().items()}
        moved = {
            "0.weight": state["0.weight"][order],
            "0.bias": state["0.bias"][order],
            "2.weight": state["2.weight"][:, order],
            "2.bias": state["2.bias"],
        }
        right = compare_functions(module, state, moved, inputs)
        # Both runs compute in float64, whatever the weights are stored in.
        assert right.ok and right.tolerance < 1e-11
        wrong = compare_functions(module, state, {**moved, "2.weight": state["2.weight"]}, inputs)
        assert not wrong.ok and wrong.max_relative_error > 100 * wrong.tolerance
    exact = compare_functions(module.double(), module.state_dict(), module.state_dict(), inputs)
    assert exact.tolerance < 1e-11


def test_outputs_that_are_not_finite_prove_nothing() -> None:
    module = nn.Linear(2, 2)
    state = {name: t * float("inf") for name, t in module.state_dict().items()}
    with pytest.raises(SpecError, match="finite"):
        compare_functions(module, state, state, (torch.zeros(1, 2),))


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(8, 16), nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        h = self.body(x).relu()
        return {"logits": self.head(h), "more": [self.aux(h), h.sum()]}


def test_each_output_has_its_own_error() -> None:
    """A large output does not hide what is wrong in a small one."""
    torch.manual_seed(0)
    module = TwoOutputs()
    state = {name: t.clone() for name, t in module.state_dict().items()}
    state["head.weight"] *= 1e4
    changed = {**state, "aux.bias": state["aux.bias"] + 0.01}
    found = compare_functions(module, state, changed, (torch.randn(4, 8),))
    errors = dict(found.outputs)
    assert list(errors) == ["logits", "more.0", "more.1"]
    assert errors["logits"] == errors["more.1"] == 0 and errors["more.0"] > found.tolerance
    assert not found.ok


HARD: dict[str, Callable[[], nn.Module]] = {
    "rounding is amplified": Amplifying,
    "numbers are drawn": lambda: TwoLayers(lambda h: h + torch.randn(3, 1).to(h), (4, 64, 2)),
}


@pytest.mark.parametrize("what", HARD)
def test_a_permutation_that_rounding_does_not_explain_is_to_be_proved(what: str) -> None:
    torch.manual_seed(0)
    module, inputs = HARD[what](), (torch.randn(3, 4),)
    spec, state = extract_spec(module, inputs), module.state_dict()
    right = Permuted(spec, spec.random(0), state)
    assert not compare_functions(module, state, right, inputs).ok
    found = compare_permuted(module, spec, state, right, inputs)
    assert found.ok and not found.explained and "proved at each of" in found.proof
    (group,) = spec.groups
    wrong = replace(spec, groups=(structs.replace(group, members=group.members[:-1]),))
    moved = Permuted(wrong, wrong.random(0), state)
    assert not compare_permuted(module, wrong, state, moved, inputs).ok


@pytest.mark.parametrize("what", HARD)
def test_align_and_merge_accept_what_is_proved_and_nothing_else(what: str) -> None:
    torch.manual_seed(0)
    a, b = HARD[what](), HARD[what]()
    inputs = torch.randn(3, 4)
    options = {"method": "weight", "example_inputs": inputs}
    with pytest.warns(ZooalignWarning, match="proved at each of"):
        aligned = zooalign.align(b, to=a, **options)
    assert aligned.verification.ok and "proved" in aligned.verification.proof
    with pytest.warns(ZooalignWarning, match="proved at each of"):
        zooalign.merge(a, b, **options)
    (group,) = aligned.spec.groups
    less = structs.replace(group, members=group.members[:-1])
    wrong = replace(aligned.spec, groups=(less,))
    for act in (
        lambda: zooalign.align(b, to=a, spec=wrong, **options),
        lambda: zooalign.merge(a, b, spec=wrong, **options),
    ):
        with pytest.raises(SpecError, match="not proved"):
            act()


def test_numbers_in_a_state_that_the_module_has_otherwise_are_not_proved() -> None:
    """A proof takes indices and truth values from the module: they may be others in a state."""

    def step(hidden: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        return hidden[:, order] * torch.randn(3, 1).to(hidden)

    module = TwoLayers(step, (4, 6, 2), order=torch.arange(6))
    inputs = (torch.randn(3, 4),)
    spec, state = extract_spec(module, inputs), module.state_dict()
    other = {**state, "order": torch.tensor([1, 0, 2, 3, 4, 5])}
    for given in (state, other):
        permuted = Permuted(spec, spec.random(0), given)
        assert not compare_functions(module, given, permuted, inputs).ok
    assert not compare_permuted(
        module, spec, other, Permuted(spec, spec.random(0), other), inputs
    ).ok
