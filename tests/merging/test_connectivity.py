"""Connectivity of planted networks: no barrier where there is none, none hidden where there is."""

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.errors import MergeError
from zooalign.merging.connectivity import HOWS
from zooalign.merging.curve import spread_of
from zooalign.merging.evaluate import Scoring
from zooalign.merging.trajectory import BARRIERS, trajectory

pytestmark = pytest.mark.slow

MODULE = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
INPUTS = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(0))


def _state(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    return {n: t.clone() for n, t in module.state_dict().items()}


def _data(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    with torch.no_grad():
        return [(x, torch.func.functional_call(MODULE, state, (x,)).argmax(1)) for x in INPUTS]


def test_networks_that_differ_in_order_alone_connect_strongly() -> None:
    first = _state(0)
    spec = zooalign.extract_spec(MODULE, INPUTS[0][:2])
    models = [first, *(spec.apply(spec.random(n), first) for n in (1, 2))]
    found = zooalign.connectivity(models, data=_data(first), module=MODULE, alphas=3, steps=3)
    measured = found.connectivity
    summary = measured.summary()
    assert tuple(summary) == HOWS
    for how in HOWS[1:]:
        assert summary[how]["loss"]["over_line"].max < 1e-6
        assert summary[how]["error"]["over_mean"].max == 0
    assert summary["as_is"]["error"]["over_line"].min > 0.1
    assert summary["as_is"]["error"]["over_line"].count == 3
    assert measured.simplex.barrier["error"].over_line == 0 and measured.merged.accuracy == 1.0
    assert measured.cycles == (((0, 1, 2), 0.0, 0.0),)
    assert found.trajectories == ()


def test_different_networks_compose_inconsistently_and_a_universe_does_not() -> None:
    models = [_state(n) for n in range(4)]
    found = zooalign.connectivity(
        models, data=_data(models[0]), module=MODULE, method="weight", alphas=3, steps=3,
        references=4,
    ).connectivity  # fmt: skip
    assert len(found.cycles) == 4
    assert any(moved > 0 for _, moved, _ in found.cycles)
    assert all(moved == 0 for _, _, moved in found.cycles)
    assert [pair.via for pair in found.of("composed")] == [2, 3, 1, 3, 0, 0]
    assert len(found.pairs) == 6 * len(HOWS)
    assert found.simplex.weights[0] == (1.0, 0.0, 0.0)
    assert found.many.details.keys() >= {"from_0", "from_3"}


def test_trajectories() -> None:
    spec = zooalign.extract_spec(MODULE, INPUTS[0][:2])
    first = [_state(n) for n in range(3)]
    second = [spec.apply(spec.random(5), state) for state in first]
    data = _data(first[-1])
    found = zooalign.connectivity(
        [first, second], data=data, module=MODULE, alphas=3, steps=2
    ).trajectories
    (one,) = found
    assert tuple(one.barriers) == BARRIERS and (one.a, one.b) == (0, 1)
    for which in BARRIERS[1:]:
        assert max(one.values(which, "loss")) < 1e-6, which
    assert max(one.values("as_is", "loss")) > 0.1
    assert set(one.to_dict()) == {"a", "b", *BARRIERS}
    match = zooalign.match(spec, first[0], second[0], method="weight")
    without = trajectory(
        Scoring(MODULE, data), spec, first, second, pair=lambda a, b: match, alphas=2
    )
    assert without.barriers["stacked"] == []


def test_running_statistics_are_reset_between_but_not_at_the_ends() -> None:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)
        ).eval()

    models, data = [make(0), make(1)], _data(_state(0))
    found = zooalign.connectivity(models, data=data, alphas=3, steps=2).connectivity
    plain = zooalign.connectivity(models, data=data, alphas=3, steps=2, reset=False).connectivity
    assert found.statistics_reset and not plain.statistics_reset
    assert found.ends == plain.ends
    assert found.of("universe")[0].curve.loss[1] != plain.of("universe")[0].curve.loss[1]
    assert tuple(found.summary()) == ("as_is", "pairwise", "universe") and found.cycles == ()


def test_what_does_not_fit_is_refused() -> None:
    data = _data(_state(0))
    with pytest.raises(MergeError, match="two models or more"):
        zooalign.connectivity([_state(0)], data=data, module=MODULE)
    with pytest.raises(MergeError, match="different lengths"):
        zooalign.connectivity([[_state(0)], [_state(1), _state(2)]], data=data, module=MODULE)


def test_spread() -> None:
    assert spread_of([1.0]).std == 0
    found = spread_of([1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.min, found.max, found.count) == (2, 1, 1, 3, 3)
