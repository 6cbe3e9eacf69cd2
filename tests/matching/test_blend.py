"""Blends of activations and weights: the ends are the two methods, and no step lowers the value."""

import pytest
import torch
from torch import nn

from zooalign.errors import MergeError
from zooalign.matching import MatchProblem, match
from zooalign.matching.unit_responses import Activations
from zooalign.symmetry import extract_spec


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(16, 3)).eval()


A, B = _net(0), _net(1)
DATA = [torch.randn(200, 6, generator=torch.Generator().manual_seed(n)) for n in range(2)]
SPEC = extract_spec(A, (DATA[0],))
PROBLEM = MatchProblem(SPEC, A.state_dict(), B.state_dict(), A, DATA)


def test_the_ends_of_a_blend_are_the_two_methods() -> None:
    activation = match(SPEC, A, B, method="activation", data=DATA)
    refined = match(SPEC, A, B, method="refine", data=DATA)
    zero, one = (match(SPEC, A, B, method="blend", data=DATA, blend=w) for w in (0, 1))
    assert zero.permutation == activation.permutation
    assert one.permutation == refined.permutation
    assert one.objective_after == pytest.approx(refined.objective_after)
    assert refined.details["activation_objective"] == pytest.approx(activation.objective_after)


@pytest.mark.parametrize("kind", ["correlation", "covariance"])
def test_a_blend_is_what_it_says(kind: str) -> None:
    found = match(SPEC, A, B, method="blend", data=DATA, blend=0.3, kind=kind)
    _, similarity = Activations(PROBLEM).match(kind)
    paired = 0.0
    for group, matrix in similarity.items():
        scale = abs(matrix).max() if kind == "covariance" else 1.0
        index = found.permutation.indices[group]
        paired += matrix[range(len(index)), index].sum() / scale
    paired /= sum(len(m) for m in similarity.values())
    weights = 1 - found.details["gap"]
    assert found.objective_after == pytest.approx(0.3 * weights + 0.7 * paired, abs=1e-6)


def test_each_method_is_best_by_its_own_objective() -> None:
    def value(permutation: object, blend: float) -> float:
        start = match(SPEC, A, SPEC.apply(permutation, B.state_dict()), **_blend(blend))
        return start.objective_before

    def _blend(blend: float) -> dict:
        return {"method": "blend", "data": DATA, "module": A, "blend": blend}

    ends = {w: match(SPEC, A, B, **_blend(w)).permutation for w in (0.001, 0.5, 1.0)}
    assert value(ends[0.5], 0.5) >= value(ends[0.001], 0.5) - 1e-9
    assert value(ends[1.0], 1.0) >= value(ends[0.5], 1.0) - 1e-9


def test_similarities_are_in_the_order_of_the_source_given() -> None:
    one, similarity = Activations(PROBLEM).match()
    for group, matrix in similarity.items():
        assert matrix.max() <= 1 + 1e-9
        index = one.permutation.indices[group]
        assert matrix[range(len(index)), index].sum() >= matrix.trace()


def test_a_share_is_between_zero_and_one_and_data_is_asked_for() -> None:
    with pytest.raises(MergeError, match="between 0 and 1"):
        match(SPEC, A, B, method="blend", data=DATA, blend=1.5)
    with pytest.raises(MergeError, match="blend matching needs data"):
        match(SPEC, A, B, method="blend")
