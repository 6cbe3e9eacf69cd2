"""The proof by operator: a rule that claims too much is refuted at its operator, and frozen."""

from collections.abc import Callable, Mapping

import pytest
import torch
from sample_models import CASES
from sample_models.small import TwoLayers

from zooalign.graph.operator import Operator, Result
from zooalign.graph.registry import OperatorRule
from zooalign.symmetry import derive_spec, extract_spec
from zooalign.symmetry.drawn_inputs import drawn_inputs
from zooalign.symmetry.extract import operator_rules
from zooalign.symmetry.proof import Proof, prove
from zooalign.symmetry.spec_file import from_json, to_json
from zooalign.symmetry.trial import DrawnState

INPUTS = (torch.zeros(4, 3),)


def proof_of(
    module: torch.nn.Module, rules: Mapping[str, OperatorRule] | None = None, members: int = 3
) -> Proof:
    derived = derive_spec(module, INPUTS, rules=rules)
    inputs = drawn_inputs(derived.traced.captured, INPUTS, 0, torch.float64)
    return prove(derived, DrawnState(module, 0), inputs, members=members)


def elementwise(op: Operator) -> Result:
    """What many operators are not: each result position depends on the operand's there alone."""
    return op.relate("*a -> *a", op["self"])


def claims(name: str) -> Mapping[str, OperatorRule]:
    """The rules, with a wrong one."""
    return {**operator_rules(), name: elementwise}


WRONG = {
    "aten.cumsum": lambda hidden: hidden.cumsum(-1),
    "aten.flip": lambda hidden: hidden.flip(-1),
    "aten.roll": lambda hidden: hidden.roll(1, -1),
    # A small branch does not hide its operator.
    "aten.tril": lambda hidden: hidden + 1e-12 * hidden.tril(),
    "aten.triu": lambda hidden: hidden.triu(),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_rule_that_claims_too_much_is_refuted_at_its_operator(name: str) -> None:
    module = TwoLayers(WRONG[name], (3, 6, 2))
    assert proof_of(module).verdict == "proved"
    proof = proof_of(module, claims(name))
    assert proof.verdict == "refuted", proof
    assert proof.faults[0].operator.startswith(name)
    assert proof.faults[0].group == "first.weight:0"
    assert proof.faults[0].axis == 1
    assert name in proof.why and "first.weight:0" in proof.why


def test_a_view_of_what_was_repeated_is_checked() -> None:
    """The copy of an expanded tensor is contiguous, and its views need that."""
    module = TwoLayers(lambda h: h[:, None].expand(-1, 2, -1).clone().view(-1, 6), (3, 6, 2))
    proof = proof_of(module)
    assert proof.verdict == "proved", proof


def test_what_is_refuted_is_frozen_and_the_spec_says_so() -> None:
    module, wrong = TwoLayers(WRONG["aten.roll"], (3, 6, 2)), claims("aten.roll")
    unproved = extract_spec(module, INPUTS, rules=wrong, prove=False)
    assert unproved.groups and unproved.proof is None
    spec = extract_spec(module, INPUTS, rules=wrong, prove=True)
    assert not spec.groups and spec.proof is not None and spec.proof.verdict == "proved"
    (reason,) = {f.kind for f in spec.frozen if f.parameter == "first.weight" and f.axis == 0}
    assert reason == "refuted by the proof"
    assert from_json(to_json(spec)).proof == spec.proof


def test_the_proof_is_no_part_of_the_hash() -> None:
    module = TwoLayers(torch.tanh, (3, 6, 2))
    spec = extract_spec(module, INPUTS, prove=True)
    assert spec.proof is not None
    assert spec.hash == extract_spec(module, INPUTS, prove=False).hash


Step = Callable[[torch.Tensor], torch.Tensor]
STEPS: list[Step] = [
    torch.empty_like,
    lambda hidden: hidden.new_empty(hidden.shape),
]


@pytest.mark.parametrize("step", STEPS)
def test_memory_that_is_not_initialised_says_nothing(
    step: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    def fill(hidden: torch.Tensor) -> torch.Tensor:
        return step(hidden).copy_(hidden).relu_()

    assert proof_of(TwoLayers(fill, (3, 6, 2))).verdict == "proved"


@pytest.mark.parametrize("name", ["experts_einsum", "written_in_place", "relative_bias", "gram"])
def test_samples_are_proved_to_rounding(name: str) -> None:
    module, inputs = CASES[name].build(), CASES[name].inputs()
    derived = derive_spec(module, inputs)
    drawn = drawn_inputs(derived.traced.captured, inputs, 0, torch.float64)
    proof = prove(derived, DrawnState(module, 0), drawn)
    assert proof.verdict == "proved", proof
    assert proof.operators and proof.max_deviation < 1e-11


def test_the_same_claim_is_checked_once() -> None:
    layers = [layer for _ in range(8) for layer in (torch.nn.Linear(3, 3), torch.nn.ReLU())]
    few, many = (torch.nn.Sequential(*layers[: 2 * n]) for n in (4, 8))
    assert proof_of(few).operators == proof_of(many).operators > 0
