"""Several solvers, judged by the midpoint on the calibration data."""

from collections.abc import Callable

import pytest
import torch
from sample_models.small import Wrapped
from torch import nn

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.matching import match
from zooalign.matching.auto import CANDIDATES
from zooalign.symmetry import extract_spec

pytestmark = pytest.mark.slow


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
    best = found.details["best_candidate"]
    assert found.details[f"loss_of_{best}"] == min(losses)
    assert found.method == "auto"


def test_learning_goes_on_from_it_and_is_not_worse_on_what_it_held_out() -> None:
    options = {"steps": 20, "batch": 40, "rate": 0.2, "check": 5}
    found = match(SPEC, A, B, method="auto", data=DATA, learn=True, **options)
    assert found.details["learned_held_out"] == 32
    assert found.details["learned_start_objective"] < 0
    with pytest.raises(MergeError, match="'steps' is an option of one method"):
        match(SPEC, A, B, method="auto", data=DATA, steps=20)


def test_one_network_in_two_orders_is_recovered() -> None:
    found = match(SPEC, A, SPEC.apply(SPEC.random(1), A.state_dict()), method="auto", data=DATA)
    assert found.details["exact"] == 1


def test_networks_in_one_order_already_stay_in_it() -> None:
    tuned = {n: t + 0.01 if t.is_floating_point() else t for n, t in A.state_dict().items()}
    found = match(SPEC, A, tuned, method="auto", data=DATA)
    losses = [found.details[f"loss_of_{name}"] for name in CANDIDATES]
    assert found.details["loss_of_identity"] == -found.objective_before == min(losses)
    assert found.objective_after == found.objective_before


def test_data_that_is_read_once_is_kept() -> None:
    once = match(SPEC, A, B, method="auto", data=iter(DATA))
    assert once.permutation == match(SPEC, A, B, method="auto", data=DATA).permutation


def scores(net: nn.Module) -> nn.Module:
    """Gives its outputs in a form in which no logits are found."""
    return Wrapped(net, lambda net, x: {"scores": [net(x)]})


@pytest.mark.parametrize(
    ("wrap", "data", "reason"),
    [
        (scores, DATA, "no outputs are found"),
        (nn.Sequential, [(x, y[:, None].expand(-1, 7)) for x, y in DATA], "no cross-entropy"),
        (nn.Sequential, [(x, y[:-1]) for x, y in DATA], "rows of inputs"),
    ],
    ids=["outputs", "targets", "rows"],
)
def test_what_cannot_be_judged_is_matched_by_activations(
    wrap: Callable[[nn.Module], nn.Module], data: list, reason: str
) -> None:
    a, b = wrap(A), wrap(B)
    spec = extract_spec(a, (X[:2],))
    with pytest.warns(ZooalignWarning, match=reason):
        found = match(spec, a, b, method="auto", data=data)
    assert (found.method, found.details["judged"]) == ("auto", 0.0)
    assert found.permutation == match(spec, a, b, method="activation", data=data).permutation
    with pytest.raises(DataError, match=reason):
        match(spec, a, b, method="auto", data=data, learn=True)
