"""Every operator rule: the order that is true, proven numerically, and mistakes are caught."""

import inspect
from collections.abc import Iterator

import pytest
import torch
from operator_cases import CASES, Between, OperatorCase
from sample_models.mutants import caught, frozen_classes, mutants, transposition

from zooalign.graph.registry import _MARK, lookup
from zooalign.operators import FAMILIES
from zooalign.operators.routing import WITHOUT_LABELS
from zooalign.symmetry import Derived, derive_spec, verify
from zooalign.symmetry.extract import operator_rules
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.trial import outputs, random_inputs, random_state

# Rules that no network of today's torch reaches before decomposition, kept for older graphs.
UNREACHED = {"edge_pad", "nothing"}
# Networks that draw numbers give another output each time: tests/operators/test_positions_matter.
RANDOM = {"noise_like", "random"}

INPUTS = (torch.zeros(2, 5),)


def _names() -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for case in CASES:
        seen[case.operator] = seen.get(case.operator, 0) + 1
        names.append(f"{case.operator}-{seen[case.operator]}")
    return names


CASES_BY_NAME = dict(zip(_names(), CASES, strict=True))


def _derived(case: OperatorCase) -> tuple[Between, Derived]:
    torch.manual_seed(0)
    module = Between(case)
    return module, derive_spec(module, INPUTS)


@pytest.fixture(scope="module")
def derived() -> dict[str, tuple[Between, Derived]]:
    """All cases, extracted once."""
    return {}


@pytest.fixture(params=CASES_BY_NAME)
def case(
    request: pytest.FixtureRequest, derived: dict[str, tuple[Between, Derived]]
) -> Iterator[tuple[str, Between, Derived]]:
    name = request.param
    if name not in derived:
        derived[name] = _derived(CASES_BY_NAME[name])
    yield name, *derived[name]


@pytest.mark.slow
def test_the_operator_is_in_the_graph(case: tuple[str, Between, Derived]) -> None:
    name, _, found = case
    operators = {str(node.target) for node in found.traced.captured.graph.nodes}
    assert CASES_BY_NAME[name].operator in operators


@pytest.mark.slow
def test_order_is_the_true_one_and_verified(case: tuple[str, Between, Derived]) -> None:
    name, module, found = case
    proof = verify(module, found.spec, INPUTS, derived=found)
    assert proof.ok, proof
    case_ = CASES_BY_NAME[name]
    expected = case_.order if case_.found is None else case_.found
    assert found.spec.log10_order == pytest.approx(expected, abs=1e-6)
    assert expected <= case_.order


def _first_of_each_rule() -> list[str]:
    """One case for each rule: ``docs/benchmarks/rule_mutants.py`` tries them all."""
    first: dict[object, str] = {}
    for name, case in CASES_BY_NAME.items():
        first.setdefault(lookup(operator_rules(), case.operator), name)
    return list(first.values())


@pytest.mark.slow
@pytest.mark.parametrize("case", _first_of_each_rule(), indirect=True)
def test_a_mistake_is_caught(case: tuple[str, Between, Derived]) -> None:
    name, module, found = case
    for what, wrong in mutants(found.spec, freed=not CASES_BY_NAME[name].missed):
        assert caught(module, wrong, INPUTS, derived=found), f"{what}: not caught"


@pytest.mark.slow
def test_frozen_units_are_told_apart(case: tuple[str, Between, Derived]) -> None:
    """Converse: a transposition of two units of a frozen set changes the output."""
    name, module, found = case
    if CASES_BY_NAME[name].missed:
        pytest.skip(f"known to be missed: {CASES_BY_NAME[name].missed}")
    state, inputs = random_state(module, 0), random_inputs(INPUTS, 0)
    reference = outputs(module, state, inputs)
    for opened in frozen_classes(found):
        (group,) = opened.groups
        for unit in range(1, group.size):
            moved = opened.apply(transposition(opened, 0, unit), state)
            error = relative_error(reference, outputs(module, moved, inputs))
            assert error > 1e-9, f"{group.members}: units 0 and {unit} are alike"


def test_every_rule_has_a_case() -> None:
    tables = (operator_rules(), WITHOUT_LABELS)
    reached = {lookup(rules, case.operator) for case in CASES for rules in tables}
    reached_names = {function.__name__ for function in reached if function is not None}
    marked = {
        name
        for family in FAMILIES
        for name, function in inspect.getmembers(family, inspect.isfunction)
        if getattr(function, _MARK, None)
    }
    assert marked - reached_names == UNREACHED | RANDOM


def test_every_operator_of_the_cases_is_known() -> None:
    unknown = {case.operator for case in CASES if lookup(operator_rules(), case.operator) is None}
    assert not unknown
