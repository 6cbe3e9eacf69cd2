"""Symmetries beyond permutations in the public functions: one argument, and nothing silent."""

import pytest
import torch
from torch import nn

import zooalign
from zooalign.errors import ArgumentError, MergeError, SpecError
from zooalign.symmetry import SpecClasses


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12), nn.Linear(12, 3))


DATA = [torch.randn(32, 6, generator=torch.Generator().manual_seed(n)) for n in range(5)]


@pytest.fixture(scope="module")
def planted() -> tuple[nn.Module, nn.Module]:
    """A network, and the same one in other coordinates."""
    spec = zooalign.extract_spec(_net(0), torch.zeros(2, 6), symmetries="linear")
    classes = SpecClasses.of(spec)
    assert {of.name for of in classes.classes.values()} == {"signed permutations", "invertible"}
    other = _net(0)
    moved = classes.apply(classes.random(4), _net(0).state_dict())
    other.load_state_dict(moved)
    return _net(0), other


def test_align_undoes_an_element(planted: tuple[nn.Module, nn.Module]) -> None:
    one, other = planted
    aligned = zooalign.align(other, to=one, data=DATA, method="activation", symmetries="linear")
    assert aligned.element is not None
    assert aligned.element.permutation == aligned.permutation
    for name, tensor in one.state_dict().items():
        assert torch.allclose(aligned.state_dict[name], tensor, atol=1e-5)
    check = aligned.verification
    assert check.explained
    assert 0 < check.rounding < 1e-5
    assert "taken" in aligned.match.details


def test_permutations_are_the_default(planted: tuple[nn.Module, nn.Module]) -> None:
    one, other = planted
    aligned = zooalign.align(other, to=one, data=DATA, method="activation")
    assert aligned.element is None
    stored = dict(other.state_dict())
    moved = aligned.spec.apply(aligned.permutation, stored)
    assert all(torch.equal(aligned.state_dict[n], moved[n]) for n in moved)


def test_a_merge_of_one_network_in_two_coordinates_is_that_network(
    planted: tuple[nn.Module, nn.Module],
) -> None:
    one, other = planted
    merged = zooalign.merge(
        one, other, data=DATA, method="activation", refit="none", symmetries="linear"
    )
    for name, tensor in one.state_dict().items():
        assert torch.allclose(merged.state_dict[name], tensor, atol=1e-5)
    as_is = zooalign.merge(one, other, data=DATA, method="activation", refit="none")
    weight = "3.weight"
    assert not torch.allclose(as_is.state_dict[weight], one.state_dict()[weight], atol=1e-2)


def test_what_does_not_follow_maps_says_so(planted: tuple[nn.Module, nn.Module]) -> None:
    one, other = planted
    optimizer = torch.optim.Adam(other.parameters())
    aligned = zooalign.align(other, to=one, data=DATA, method="activation", symmetries="signed")
    with pytest.raises(SpecError, match="does not follow signs, scales and linear maps"):
        zooalign.apply_to_optimizer(optimizer, other, aligned)
    with pytest.raises(MergeError, match=r"are permuted only.*through='reference'"):
        zooalign.merge(
            *(one, other, _net(1)),
            data=DATA,
            method="activation",
            through="universe",
            symmetries="signed",
        )
    with pytest.raises(ArgumentError, match="'permutations', 'signed', 'monomial', 'linear'"):
        zooalign.align(other, to=one, data=DATA, symmetries="rotations")


def test_a_given_spec_has_to_go_as_far(planted: tuple[nn.Module, nn.Module]) -> None:
    one, other = planted
    spec = zooalign.extract_spec(one, DATA[0])
    with pytest.raises(SpecError, match="permutations only, not of signed"):
        zooalign.align(
            other, to=one, data=DATA, spec=spec, method="activation", symmetries="signed"
        )
