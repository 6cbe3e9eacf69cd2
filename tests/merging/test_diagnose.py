"""Verdicts on pairs made to deserve them."""

import pytest
import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.merging import diagnose


def state(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.Linear(40, 10)).state_dict()


def tuned(base: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    torch.manual_seed(7)
    return {
        n: t + amount * t.std() * torch.randn_like(t) if t.dim() == 2 else t.clone()
        for n, t in base.items()
    }


def test_identical_even_with_nan() -> None:
    a = state(0)
    a["0.weight"][0, 0] = float("nan")
    found = diagnose(a, {n: t.clone() for n, t in a.items()}, free_groups=0)
    assert found.kind == "identical" and "equal in every value" in found.verdict
    assert found.nothing_to_align


def test_one_value_is_a_difference() -> None:
    a = state(0)
    b = {n: t.clone() for n, t in a.items()}
    b["1.num_batches_tracked"] += 1
    assert diagnose(a, b).kind == "aligned"


def test_independent_networks_are_different() -> None:
    found = diagnose(state(0), state(1))
    assert found.kind == "different" and abs(found.cosine) < 0.2 and not found.nothing_to_align
    assert "align them before merging" in found.verdict
    found = diagnose(state(0), state(1), moved_fraction=0.9, free_groups=1)
    assert found.kind == "different" and "moves 90.0% of units" in found.verdict
    found = diagnose(state(0), state(1), moved_fraction=0.0)
    assert found.kind == "different" and "no correspondence" in found.verdict


def test_fine_tunes_are_aligned() -> None:
    a = state(0)
    found = diagnose(a, tuned(a, 0.3))
    assert found.kind == "aligned" and found.cosine > 0.9
    assert "aligned already" in found.verdict
    found = diagnose(a, tuned(a, 1.0), moved_fraction=0.02)
    assert found.kind == "aligned" and "leaves 98.0% of units where they are" in found.verdict


def test_a_close_network_whose_units_moved_is_not_aligned() -> None:
    a = state(0)
    assert diagnose(a, tuned(a, 0.3), moved_fraction=0.4).kind == "different"


def test_no_free_group() -> None:
    found = diagnose(state(0), state(1), free_groups=0)
    assert found.kind == "no_free_group" and "frozen axes" in found.verdict


def test_infinite_masks_and_vectors_alone() -> None:
    mask = torch.full((3, 3), float("-inf")).triu(1)
    a, b = {**state(0), "mask": mask}, {**state(1), "mask": mask}
    assert diagnose(a, b).cosine == diagnose(state(0), state(1)).cosine
    assert diagnose({"w": torch.ones(3)}, {"w": 2 * torch.ones(3)}).cosine == pytest.approx(1.0)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(MergeError, match=r"lacks '0.weight'"):
        diagnose(state(0), {"1.weight": torch.ones(40)})
