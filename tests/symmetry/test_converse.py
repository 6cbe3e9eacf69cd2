"""The converse test sees symmetries that a spec misses, and sees none where there are none."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from sample_models import derived_sample
from sample_models.attention import CASES as ATTENTION
from sample_models.layouts import CASES as LAYOUTS
from sample_models.small import TwoLayers
from torch import Tensor, nn

from zooalign.symmetry import Derived, derive_spec
from zooalign.symmetry.converse import converse, frozen_sets

pytestmark = pytest.mark.slow

CASES = {**ATTENTION, **LAYOUTS}


@pytest.mark.parametrize("name", sorted(n for n, case in CASES.items() if case.complete))
def test_nothing_is_missed(name: str) -> None:
    module, derived = derived_sample(name)
    found = converse(module, derived, CASES[name].inputs(), seed=1)
    assert found.ok, found.unchanged
    assert found.tested > 0 and found.transpositions >= found.tested


def demoted(derived: Derived) -> Iterator[tuple[str, Derived]]:
    """The same with one group held frozen, for each group."""
    for group in derived.spec.groups:
        kept = tuple(g for g in derived.spec.groups if g is not group)
        number = derived.class_of[group.id]
        classes = list(derived.solution.classes)
        classes[number] = replace(classes[number], fixed=True)
        yield (
            group.id,
            Derived(
                replace(derived.spec, groups=kept),
                derived.traced,
                replace(derived.solution, classes=tuple(classes)),
                {name: n for name, n in derived.class_of.items() if n != number},
            ),
        )


def test_a_group_that_is_held_frozen_is_seen() -> None:
    names = [n for n in ATTENTION if ATTENTION[n].complete][:2] + [*LAYOUTS][:2]
    seen = 0
    for name in names:
        case = CASES[name]
        module = case.build()
        derived = derive_spec(module, case.inputs())
        for group, less in demoted(derived):
            found = converse(module, less, case.inputs())
            missed = {pair.name for pair in found.unchanged}
            assert not found.ok, (name, group)
            assert len(missed) == 1 and missed <= {s.name for s in frozen_sets(less)}
            seen += 1
    assert seen > 4


def test_a_reason_is_given() -> None:
    """Hidden units are picked by a table."""
    module = TwoLayers(
        lambda h, table: h[:, table], (3, 4, 2), persistent=False, table=torch.arange(4)
    )
    inputs = (torch.zeros(2, 3),)
    derived = derive_spec(module, inputs)
    sets = frozen_sets(derived)
    assert {s.cause.kind for s in sets} >= {"input", "output"}
    found = converse(module, derived, inputs, pairs=6)
    assert found.sets == len(sets) and found.tested == len(sets)
    assert found.hidden == sum(s.hidden for s in sets)


def test_copies_are_no_missed_symmetry() -> None:
    """A layer reads every unit twice, and padding that holds nothing."""

    def copied(h: Tensor) -> Tensor:
        h = torch.tanh(h).cumsum(1)
        return torch.nn.functional.pad(torch.cat([h, h], 1), (0, 3))

    module, inputs = TwoLayers(copied, (3, 4, 2), reads=11), (torch.zeros(5, 3),)
    derived = derive_spec(module, inputs)
    found = converse(module, derived, inputs, pairs=60)
    assert found.ok
    pairs = {pair.units for pair in found.unchanged if pair.name == "last.weight:1"}
    assert pairs == {(0, 4), (1, 5), (2, 6), (3, 7)}
    assert [group.size for group in derived.spec.groups] == [3]  # the padding
    assert all(pair.mixable for pair in found.unchanged)


def test_units_of_two_sets_that_could_be_one_are_seen() -> None:
    """A constant with one value in two runs: the spec keeps the units of the runs apart."""

    def scaled(h: Tensor) -> Tensor:
        return h * torch.tensor([2, 2, 1, 1, 1, 2, 2], dtype=h.dtype)

    module, inputs = TwoLayers(scaled, (3, 7, 2)), (torch.zeros(5, 3),)
    derived = derive_spec(module, inputs)
    first, between, last = (group.id for group in derived.spec.groups)
    found = converse(module, derived, inputs)
    assert [pair.name for pair in found.unchanged] == [f"{first} with {last}"]
    (pair,) = found.unchanged
    assert not found.ok and pair.size == 4 and pair.units[0] < 2 <= pair.units[1]
    assert between not in pair.name and pair.cause.kind == "two sets"


def test_a_group_and_a_frozen_set_that_could_be_one_are_seen() -> None:
    def scaled(h: Tensor) -> Tensor:
        return h * torch.tensor([2, 2, 1, 2, 2], dtype=h.dtype)

    module, inputs = TwoLayers(scaled, (3, 5, 2)), (torch.zeros(5, 3),)
    derived = derive_spec(module, inputs)
    for group, less in demoted(derived):
        found = converse(module, less, inputs)
        assert any(" with " in pair.name for pair in found.unchanged), group


def test_branches_with_parameters_of_their_own_are_two_sets() -> None:
    """Pieces of one axis that are read by one layer and made by two cannot change places."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.cat([self.left(x), self.right(x)], 1).tanh())

    module, inputs = Branches(), (torch.zeros(5, 3),)
    derived = derive_spec(module, inputs)
    assert [group.size for group in derived.spec.groups] == [4, 4]
    found = converse(module, derived, inputs)
    assert found.ok and found.transpositions == found.tested


def test_few_sets_are_chosen_evenly() -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3)]
    for _ in range(6):
        layers += [nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
    module, inputs = nn.Sequential(*layers), (torch.zeros(2, 3, 9, 9),)
    derived = derive_spec(module, inputs)
    found = converse(module, derived, inputs, most=4)
    assert found.sets > found.tested == 4 and found.hidden == found.hidden_tested == 0
    assert found.transpositions == 4
    kinds = {s.cause.kind for s in frozen_sets(derived)}
    assert len(kinds) == 3 and converse(module, derived, inputs, most=3).tested == 3
