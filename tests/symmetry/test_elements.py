"""Elements of classes as values: identity, inverse, product, action, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from normed_stream import Normed
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.symmetry import Element, SpecClasses, extract_spec
from zooalign.symmetry.same_function import compare_functions
from zooalign.symmetry.trial import random_inputs, random_state

INPUTS = (torch.zeros(2, 3, 5),)
CLASSES = {"orthogonal", "monomial", "invertible"}


@pytest.fixture(scope="module")
def classes() -> SpecClasses:
    return SpecClasses.of(extract_spec(Normed(), INPUTS, symmetries="linear"))


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, Tensor], ...]:
    return tuple(random_state(Normed(), seed) for seed in range(3))


def _element(classes: SpecClasses, seed: int) -> Element:
    return replace(classes.random(seed), permutation=classes.spec.random(seed))


def _difference(module: nn.Module, a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Of outputs, relative."""
    inputs = INPUTS if isinstance(module, Normed) else (torch.zeros(1, 3, 32, 32),)
    return compare_functions(module, a, b, random_inputs(inputs, 0)).max_relative_error


def _apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[n] - b[n]).abs().max()) for n in a)


def test_the_network_has_groups_of_several_classes(classes: SpecClasses) -> None:
    assert {of.name for of in classes.classes.values()} >= CLASSES
    assert any(group.over for group in classes.spec.groups)


def test_an_element_between_two_sets_of_norm_weights_keeps_the_function(
    classes: SpecClasses, states: tuple[dict[str, Tensor], ...]
) -> None:
    source, target, _ = states
    element = classes.between(_element(classes, 3), source, target)
    moved = classes.apply(element, source)
    assert _difference(Normed(), source, moved) < 1e-11
    for name in ("norm.weight", "between.weight", "last.weight"):
        assert torch.equal(moved[name], target[name])
    assert _apart(moved, source) > 0.1


def test_inverse_and_product(classes: SpecClasses, states: tuple[dict[str, Tensor], ...]) -> None:
    one = classes.between(_element(classes, 1), states[0], states[1])
    two = classes.between(_element(classes, 2), states[1], states[2])
    there = classes.apply(one, states[0])
    back = classes.apply(classes.invert(one), there)
    assert _apart(back, states[0]) < 1e-10
    both = classes.apply(classes.compose(two, one), states[0])
    assert _apart(both, classes.apply(two, there)) < 1e-10
    none = classes.compose(classes.invert(one), one)
    assert none.permutation.is_identity
    assert _apart(classes.apply(none, states[0]), states[0]) < 1e-10


def test_the_identity_gives_the_tensors_themselves(
    classes: SpecClasses, states: tuple[dict[str, Tensor], ...]
) -> None:
    identity = classes.between(classes.identity(), states[0], states[0])
    assert identity.is_identity
    moved = classes.apply(identity, states[0])
    assert _apart(moved, states[0]) < 1e-12
    signed = SpecClasses.of(extract_spec(Normed(), INPUTS, symmetries="signed"))
    moved = signed.apply(signed.identity(), states[0])
    assert all(moved[n] is states[0][n] for n in moved)


def test_permutations_and_signs_are_exact_in_sixteen_bits(
    states: tuple[dict[str, Tensor], ...],
) -> None:
    signed = SpecClasses.of(extract_spec(Normed(), INPUTS, symmetries="signed"))
    narrow = {n: t.bfloat16() for n, t in states[0].items()}
    element = _element(signed, 1)
    moved = signed.apply(element, narrow)
    assert all(t.dtype == torch.bfloat16 for t in moved.values())
    back = signed.apply(signed.invert(element), moved)
    assert all(torch.equal(back[n], narrow[n]) for n in narrow)
    assert any(not torch.equal(moved[n], narrow[n]) for n in narrow)


def test_what_an_element_touches(classes: SpecClasses) -> None:
    assert classes.identity().touched.is_identity
    drawn = classes.random(1)
    touched = drawn.touched
    classes.spec.check(touched)
    still = {name for name, maps in drawn.maps.items() if maps.still}
    for name, index in touched.indices.items():
        moves = bool((index != np.arange(index.shape[-1])).all())
        assert moves is (name not in still)


# ---------------------------------------------------------------------- what is refused


def test_another_state_is_refused(
    classes: SpecClasses, states: tuple[dict[str, Tensor], ...]
) -> None:
    element = classes.between(_element(classes, 1), states[0], states[1])
    with pytest.raises(SpecError, match=r"'norm\.weight'.*not the one that the element is for"):
        classes.apply(element, states[2])
    with pytest.raises(SpecError, match="the second element is for another"):
        classes.compose(element, element)


def test_a_spec_without_classes_is_refused() -> None:
    with pytest.raises(SpecError, match=r"permutations only.*--symmetries"):
        SpecClasses.of(extract_spec(Normed(), INPUTS))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nan", "not finite"),
        ("stretched", "no rotation"),
        ("sign", "neither 1 nor -1"),
        ("scale", "not a positive"),
        ("shape", "other shapes"),
        ("singular", "condition above"),
    ],
)
def test_a_map_outside_of_its_class_is_refused(
    classes: SpecClasses, states: tuple[dict[str, Tensor], ...], wrong: str, message: str
) -> None:
    element = classes.random(0)
    named: dict[str, str] = {classes.classes[g.id].name: g.id for g in classes.spec.groups}
    group = named[
        {"singular": "invertible", "sign": "monomial", "scale": "monomial"}.get(wrong, "orthogonal")
    ]
    maps = element.maps[group]
    linear = torch.eye(2) if maps.linear is None else maps.linear.clone()
    changed = {
        "nan": lambda: replace(maps, linear=linear.fill_(torch.nan)),
        "stretched": lambda: replace(maps, linear=linear * 1.01),
        "sign": lambda: replace(maps, signs=maps.signs * 2),
        "scale": lambda: replace(maps, scales=-maps.scales),
        "shape": lambda: replace(maps, linear=linear[..., :-1, :-1]),
        "singular": lambda: replace(maps, linear=linear * torch.tensor([1.0, 1, 1, 1e-9]).double()),
    }[wrong]()
    broken = replace(element, maps={**element.maps, group: changed})
    with pytest.raises(SpecError, match=message):
        classes.apply(broken, classes.absorbed(states[0]))


def test_a_weight_of_zero_is_refused(
    classes: SpecClasses, states: tuple[dict[str, Tensor], ...]
) -> None:
    zero = {**states[0], "norm.weight": states[0]["norm.weight"].clone()}
    zero["norm.weight"][3] = 0
    with pytest.raises(SpecError, match=r"'norm\.weight' of the target is zero.*monomial"):
        classes.between(classes.identity(), states[1], zero)
    # What is lost is lost: as a source it computes the same, and does not come back.
    element = classes.between(_element(classes, 1), zero, states[1])
    moved = classes.apply(element, zero)
    assert _difference(Normed(), zero, moved) < 1e-11
    with pytest.raises(SpecError, match="zero for some units"):
        classes.invert(element)


def test_whole_numbers_are_refused(states: tuple[dict[str, Tensor], ...]) -> None:
    signed = SpecClasses.of(extract_spec(Normed(), INPUTS, symmetries="signed"))
    stored = {n: (t * 100).to(torch.int8) for n, t in states[0].items()}
    with pytest.raises(SpecError, match="only permutations are exact"):
        signed.apply(signed.random(1), stored)
    permuting = signed.permuting(signed.spec.random(1))
    moved = signed.apply(permuting, stored)
    assert all(
        torch.equal(moved[n], signed.spec.apply(permuting.permutation, stored)[n]) for n in stored
    )


def test_a_vision_transformer() -> None:
    module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=5
    )
    classes = SpecClasses.of(
        extract_spec(module, (torch.zeros(1, 3, 32, 32),), symmetries="linear")
    )
    assert any(of.linear is not None for of in classes.classes.values())
    source, target = random_state(module, 1), random_state(module, 2)
    element = classes.between(_element(classes, 4), source, target)
    moved = classes.apply(element, source)
    assert _difference(module, source, moved) < 1e-10
