"""Several solvers, judged by the midpoint on the calibration data."""

import pytest
import torch
from torch import nn

from zooalign.errors import MergeError
from zooalign.matching import match
from zooalign.matching.auto import CANDIDATES
from zooalign.symmetry import extract_spec


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(12, 4)).eval()


A, B, TEACHER = _net(0), _net(1), _net(2)
X = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    Y = TEACHER(X).argmax(1)
DATA = list(zip(X.split(40), Y.split(40), strict=True))
SPEC = extract_spec(A, (X[:2],))


@pytest.mark.parametrize("data", [DATA, [X]], ids=["labelled", "unlabelled"])
def test_the_best_candidate_is_returned(data: list) -> None:
    found = match(SPEC, A, B, method="auto", data=data)
    losses = [found.details[f"loss_of_{name}"] for name in CANDIDATES]
    assert -found.objective_after == min(losses)
    best = CANDIDATES[int(found.details["best_candidate"])]
    assert found.details[f"loss_of_{best}"] == min(losses)
    assert found.method == "auto"


def test_learning_goes_on_from_it_and_is_not_worse_on_what_it_held_out() -> None:
    options = {"steps": 20, "batch": 40, "rate": 0.2, "check": 5}
    found = match(SPEC, A, B, method="auto", data=DATA, learn=True, **options)
    assert found.details["learned_held_out"] == 32
    assert found.details["learned_start_objective"] < 0
    with pytest.raises(MergeError, match="'steps' is an option of learning"):
        match(SPEC, A, B, method="auto", data=DATA, steps=20)


def test_one_network_in_two_orders_is_recovered() -> None:
    found = match(SPEC, A, SPEC.apply(SPEC.random(1), A.state_dict()), method="auto", data=DATA)
    assert found.details["exact"] == 1
