"""What is said of an alignment: singular directions, fixed points, and whether it helped."""

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.matching import match
from zooalign.matching.directions import leading, leading_directions
from zooalign.merging.outcome import Outcome, diagnose, outcome
from zooalign.symmetry import extract_spec


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3)
    )


SPEC = extract_spec(_net(0), (torch.zeros(1, 6),))


def _judged(a: dict[str, Tensor], b: dict[str, Tensor]) -> Outcome:
    found = match(SPEC, a, b, method="weight", starts=4)
    moved = found.permutation.moved_fraction
    return outcome(SPEC, found, a, b, diagnose(a, b, moved_fraction=moved))


def test_the_leading_part_is_the_best_of_its_rank() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(30, 3, 4, 2)
    u, s, v = torch.linalg.svd(matrix.reshape(30, -1).double(), full_matrices=False)
    wanted = u[:, :4] * s[:4] @ v[:4]
    error = (leading(matrix.double(), 4).whole - wanted).norm() / wanted.norm()
    assert error < 0.15  # a random matrix has no gap between its singular values
    low = torch.randn(30, 2).double() @ torch.randn(2, 17).double()
    assert torch.allclose(leading(low, 4).whole, low)


def test_directions_of_a_permuted_copy_line_up_after_permuting_back() -> None:
    a = _net(0).state_dict()
    planted = SPEC.random(1)
    b = SPEC.apply(planted, a)
    found = leading_directions(SPEC, SPEC.invert(planted), a, b)
    assert found.after == pytest.approx(1.0, abs=0.05) and found.before < 0.5
    assert found.matrices == 3
    doubles = {name: tensor.double() for name, tensor in b.items()}
    assert leading_directions(SPEC, SPEC.invert(planted), a, doubles).after > 0.95
    same = leading_directions(SPEC, SPEC.identity(), a, a)
    assert same.before == same.after == pytest.approx(1.0)


def test_verdicts() -> None:
    a, other = _net(0).state_dict(), _net(1).state_dict()
    found = _judged(a, SPEC.apply(SPEC.random(1), a))
    assert found.helped == "recovered" and "equal in every value" in found.verdict
    tuned = {n: t + 0.01 * torch.randn_like(t) for n, t in a.items()}
    found = _judged(a, tuned)
    assert found.helped == "not needed" and found.fixed_points == 1
    assert found.verdict.startswith("Alignment was not needed.")
    assert "aligned already, as fine-tunes of one base are" in found.verdict
    found = _judged(a, SPEC.apply(SPEC.random(1), tuned))
    assert found.helped == "yes" and found.directions_after > found.directions_before
    found = _judged(a, other)
    assert found.helped in ("yes", "no")
    assert found.starts == 4 and found.fixed_by_chance == pytest.approx(2 / 40)


def test_an_alignment_carries_it() -> None:
    torch.manual_seed(3)
    found = zooalign.align(_net(1), to=_net(0), data=[torch.randn(64, 6)])
    assert found.outcome.verdict
    assert found.outcome.fixed_points == pytest.approx(1 - found.match.moved_fraction)
    assert found.outcome.objective_after == found.match.objective_after
