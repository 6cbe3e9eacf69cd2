"""Specs that miss, double or separate what belongs together: the parameter is named."""

import dataclasses

import pytest
from msgspec import structs

from zooalign.gate.checks.permutation import permutation_gaps
from zooalign.pipelines.spec import spec_for
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.groups import Block, Group, Member, Over


@pytest.fixture(scope="module")
def spec() -> PermutationSpec:
    return spec_for("timm:test_vit?num_classes=3&img_size=32&depth=1").derived.spec


def said(recorded: PermutationSpec, spec: PermutationSpec) -> dict[str, str]:
    return {gap.where: gap.message for gap in permutation_gaps(recorded, spec)}


def test_the_same_spec(spec: PermutationSpec) -> None:
    assert said(spec, spec) == {}


def test_a_forgotten_member(spec: PermutationSpec) -> None:
    first = max(spec.groups, key=lambda group: len(group.members))
    member = first.members[3]
    kept = tuple(m for m in first.members if m != member)
    others = tuple(structs.replace(g, members=kept) if g is first else g for g in spec.groups)
    found = said(dataclasses.replace(spec, groups=others), spec)
    assert list(found) == [member.parameter] and "nothing moves it" in found[member.parameter]


def test_a_forgotten_group_and_one_too_many(spec: PermutationSpec) -> None:
    group = next(g for g in spec.groups if "mlp.fc1.weight" in g.members[0].parameter)
    less = dataclasses.replace(spec, groups=tuple(g for g in spec.groups if g is not group))
    assert set(said(less, spec)) == {m.parameter for m in group.members}
    more = said(spec, less)
    assert all("does not allow it" in message for message in more.values()) and more


def test_one_group_as_two(spec: PermutationSpec) -> None:
    group = next(g for g in spec.groups if "mlp.fc1.weight" in g.members[0].parameter)
    head = structs.replace(group, members=group.members[:1])
    tail = structs.replace(group, id="other", members=group.members[1:])
    at = spec.groups.index(group)
    split = (*spec.groups[:at], head, tail, *spec.groups[at + 1 :])
    found = said(dataclasses.replace(spec, groups=split), spec)
    [message] = found.values()
    assert "moves together with" in message and "by itself" in message


def test_an_axis_that_is_moved_twice(spec: PermutationSpec) -> None:
    group = next(g for g in spec.groups if "mlp.fc1.weight" in g.members[0].parameter)
    twice = dataclasses.replace(spec, groups=(*spec.groups, structs.replace(group, id="again")))
    found = list(permutation_gaps(twice, spec))
    moved = {gap.where for gap in found if "moved twice" in gap.message}
    assert moved == {m.parameter for m in group.members}


def test_a_tensor_that_the_spec_does_not_know(spec: PermutationSpec) -> None:
    shapes = {name: shape for name, shape in spec.shapes.items() if name != "head.bias"}
    found = said(dataclasses.replace(spec, shapes=shapes), spec)
    assert "does not know" in found["head.bias"]


def test_groups_that_cross_are_no_double_move() -> None:
    """Grouped queries: heads that share a key head change places, and so do the dims of all."""
    shape = {"v": (8, 5), "o": (5, 16)}
    keys = Group(
        "keys",
        2,
        (
            Member("v", 0, (0,), (Block(0, 2, 0, 4, (), ((4, 1),)),)),
            Member("o", 1, (1,), (Block(0, 2, 0, 8, (), ((8, 1),)),)),
        ),
    )
    inside = Over(8, 0, 2)
    heads = Group("heads", 2, (Member("o", 1, (1,), (Block(0, 2, 0, 4, (inside,), ((4, 1),)),)),),
                  ("keys",), (2,))  # fmt: skip
    dims = Group("dims", 4, (Member("v", 0, (0,), (Block(0, 4, 0, 1, (Over(4, 0, 2),)),)),
                             Member("o", 1, (1,), (Block(0, 4, 0, 1, (inside,), ((2, 4),)),))),
                 ("keys",), (2,))  # fmt: skip
    right = PermutationSpec(shape, (keys, heads, dims))
    assert list(permutation_gaps(right, right)) == []
    # The same dims as if they were those of each head: units of one lie within units of the other.
    flat = Group("flat", 8, (Member("o", 1, (1,), (Block(0, 8, 0, 2, (), ((2, 1),)),)),))
    wrong = PermutationSpec(shape, (keys, heads, dims, flat))
    assert {gap.message for gap in permutation_gaps(wrong, wrong)} >= {
        "its axis 1 is moved twice: by heads and flat"
    }


def test_groups_that_overlap_in_part_are_moved_twice() -> None:
    first = Group("first", 2, (Member("w", 0, (0,), (Block(0, 2, 0, 4, (), ((4, 1),)),)),))
    shifted = Group("shifted", 2, (Member("w", 0, (0,), (Block(0, 2, 2, 4, (), ((4, 1),)),)),))
    spec = PermutationSpec({"w": (12, 3)}, (first, shifted))
    assert "its axis 0 is moved twice: by first and shifted" in {
        g.message for g in permutation_gaps(spec, spec)
    }
