"""A certificate is given for what is provably best, and for nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zooalign.matching import match
from zooalign.matching.certificate import certify
from zooalign.matching.weight import perturbed
from zooalign.symmetry import extract_spec


def _net(seed: int, width: int = 9) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(width, 3))


SPEC = extract_spec(_net(0), (torch.zeros(1, 5),))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from(["plain", "balanced", "cosine"]))
def test_a_planted_permutation_is_certified_and_a_near_one_is_not(seed: int, scale: str) -> None:
    a = _net(seed).state_dict()
    planted = SPEC.random(seed)
    b = SPEC.apply(planted, a)
    back = SPEC.invert(planted)
    found = certify(SPEC, back, a, b, scale=scale)
    assert found.exact and found.optimal and found.distance == 0 and abs(found.gap) < 1e-12
    near = perturbed(SPEC, back, np.random.default_rng(seed))
    if near != back:
        found = certify(SPEC, near, a, b, scale=scale)
        assert not found.exact and not found.optimal and found.distance > 0 and found.gap > 1e-6


def test_a_scaled_copy_is_optimal_though_not_exact() -> None:
    a = _net(0).state_dict()
    b = SPEC.apply(SPEC.random(1), {n: 1.5 * t for n, t in a.items()})
    found = match(SPEC, a, b, method="weight", starts=20)
    assert found.details["certified"] == 1 and found.details["exact"] == 0
    assert found.details["distance"] == pytest.approx(0.5, abs=1e-6)


def test_independent_networks_are_not_certified() -> None:
    found = match(SPEC, _net(0), _net(1), method="weight", starts=3)
    assert found.details["certified"] == 0 and found.details["gap"] > 0.1
    assert found.details["starts"] == 3


def test_no_start_follows_one_that_reaches_the_bound() -> None:
    a = _net(3).state_dict()
    b = SPEC.apply(SPEC.random(1), a)
    assert match(SPEC, a, b, method="weight", starts=100).details["starts"] < 100


def test_running_statistics_count_for_exact() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    spec = extract_spec(net, (torch.zeros(1, 4),))
    a = net.state_dict()
    b = {n: t.clone() for n, t in a.items()}
    b["1.running_mean"][0] += 1
    found = certify(spec, spec.identity(), a, b)
    assert found.optimal and not found.exact


@pytest.mark.parametrize("restarts", ["perturb", "random"])
def test_restarts_are_never_worse_than_the_first(restarts: str) -> None:
    a, b = _net(0, 20).state_dict(), _net(1, 20).state_dict()
    spec = extract_spec(_net(0, 20), (torch.zeros(1, 5),))
    one = match(spec, a, b, method="weight")
    many = match(spec, a, b, method="weight", starts=9, restarts=restarts)
    assert many.objective_after >= one.objective_after
    assert many.details["spread"] > 0
    assert 0 <= many.details["best_start"] < 9
