"""One permutation for many checkpoints: found where one does not decide, planted ones exact."""

import pytest
import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.matching import match
from zooalign.matching.many import METHODS, match_many, match_stacked
from zooalign.symmetry import extract_spec

DATA = [torch.randn(80, 5, generator=torch.Generator().manual_seed(0))]


def _state(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    return {n: t.clone() for n, t in module.state_dict().items()}


MODULE = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
SPEC = extract_spec(MODULE, (DATA[0][:2],))


@pytest.mark.parametrize("method", METHODS)
def test_one_checkpoint_is_a_pair(method: str) -> None:
    a, b = _state(0), _state(1)
    pair = match(SPEC, a, b, method=method, data=DATA, module=MODULE)
    found = match_stacked(SPEC, [a], [b], method=method, data=DATA, module=MODULE)
    assert found.permutation == pair.permutation and found.method == method
    assert found.objective_after == pytest.approx(pair.objective_after, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_checkpoints_that_know_half_each_are_enough_together(method: str) -> None:
    """At each step half of the units are equal to each other and cannot be told apart."""
    targets = []
    for half in (slice(0, 4), slice(4, 8)):
        state = _state(half.start)
        for name in ("0.weight", "0.bias"):
            state[name][half] = state[name][half.start]
        state["2.weight"][:, half] = state["2.weight"][:, half.start : half.start + 1]
        targets.append(state)
    planted = SPEC.random(3)
    sources = [SPEC.apply(planted, state) for state in targets]
    found = match_stacked(SPEC, targets, sources, method=method, data=DATA, module=MODULE)
    assert found.permutation == SPEC.invert(planted)
    assert found.objective_after == pytest.approx(1.0, abs=1e-5)
    assert found.details["checkpoints"] == 2


def test_the_objective_is_the_mean_over_checkpoints() -> None:
    targets, sources = [_state(0), _state(1)], [_state(2), _state(3)]
    found = match_stacked(SPEC, targets, sources, method="activation", data=DATA, module=MODULE)
    single = [
        match_stacked(SPEC, [a], [b], data=DATA, module=MODULE)
        for a, b in zip(targets, sources, strict=True)
    ]
    assert found.objective_before == pytest.approx(sum(s.objective_before for s in single) / 2)
    assert found.objective_after <= sum(s.objective_after for s in single) / 2 + 1e-6


def test_networks_of_many_checkpoints_share_a_universe() -> None:
    networks = [[_state(3 * n + t) for t in range(2)] for n in range(3)]
    found = match_many(SPEC, networks, method="weight")
    assert found.objective_after > found.objective_before
    with pytest.raises(MergeError, match="same number"):
        match_stacked(SPEC, networks[0], networks[1][:1], method="weight")
