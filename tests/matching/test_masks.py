"""Masks move with their networks, and are matched without any weight."""

import pytest
import torch
from torch import Tensor, nn

from zooalign.errors import MergeError, SpecError
from zooalign.matching.masks import (
    apply_mask,
    carry_mask,
    mask_of,
    mask_overlap,
    match_masks,
)
from zooalign.symmetry import extract_spec

MODULE = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 2))
SPEC = extract_spec(MODULE, (torch.zeros(2, 5),))
WEIGHTS = ("0.weight", "2.weight", "4.weight")


def _mask(seed: int, kept: float = 0.4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(MODULE.state_dict()[n].shape, generator=generator) < kept for n in WEIGHTS
    }


def _state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(t.shape, generator=generator) for n, t in MODULE.state_dict().items()}


def test_carrying_and_applying_commute() -> None:
    state, mask, permutation = _state(0), _mask(1), SPEC.random(2)
    one = SPEC.apply(permutation, apply_mask(state, mask))
    other = apply_mask(SPEC.apply(permutation, state), carry_mask(SPEC, permutation, mask))
    assert all(torch.equal(one[n], other[n]) for n in one)
    assert carry_mask(SPEC, permutation, mask)["2.weight"].dtype is torch.bool
    found = mask_of(one)
    assert found.keys() == set(WEIGHTS)
    assert all(torch.equal(found[n], carry_mask(SPEC, permutation, mask)[n]) for n in found)


def test_a_planted_order_of_masks_is_found() -> None:
    mask, planted = _mask(0), SPEC.random(7)
    found = match_masks(SPEC, mask, carry_mask(SPEC, planted, mask))
    assert found.permutation == SPEC.invert(planted)
    assert found.objective_after == pytest.approx(1.0, abs=1e-6)
    levels = [_mask(n, kept) for n, kept in enumerate((0.8, 0.4, 0.1))]
    moved = [carry_mask(SPEC, planted, level) for level in levels]
    assert match_masks(SPEC, levels, moved).permutation == SPEC.invert(planted)


def test_overlap() -> None:
    a = {"w": torch.tensor([1, 1, 0, 0]).bool()}
    b = {"w": torch.tensor([1, 0, 1, 0]).bool()}
    found = mask_overlap(a, b)
    assert found.shared == pytest.approx(1 / 3)
    assert found.chance == pytest.approx(1 / 3)  # one of four by chance, three of four in either
    assert found.kept == (0.5, 0.5)
    assert mask_overlap(a, a).shared == 1.0


def test_matching_masks_finds_more_than_chance() -> None:
    a, b = _mask(0), _mask(1)
    found = match_masks(SPEC, a, b)
    before, after = mask_overlap(a, b), mask_overlap(a, carry_mask(SPEC, found.permutation, b))
    assert after.shared > before.shared
    assert after.chance == before.chance


def test_what_does_not_fit_is_refused() -> None:
    mask = _mask(0)
    with pytest.raises(MergeError, match="another architecture"):
        apply_mask({"0.weight": torch.zeros(3)}, mask)
    with pytest.raises(SpecError):
        carry_mask(SPEC, SPEC.identity(), {"other": mask["0.weight"]})
    with pytest.raises(MergeError, match=r"different tensors: \['4\.weight'\]"):
        match_masks(SPEC, mask, {n: mask[n] for n in WEIGHTS[:2]})
