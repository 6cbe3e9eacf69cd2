"""Both definitions of the barrier on networks whose scores are known in closed form."""

import json
from typing import Any

import pytest
import torch
from sample_models.small import Constant
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.merging import Barrier, BarrierCurve, average, barrier, evaluate, excess
from zooalign.merging.statistics import reset_statistics


def value(number: float) -> dict[str, Tensor]:
    return {"value": torch.tensor(number)}


def bump(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 - v^2 + (v + 1) / 2: a hill between -1 and 1 over a line from 0 to 1."""
    return 1 - outputs**2 + (outputs + 1) / 2


def near(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.abs() > 0.5


DATA = [(torch.zeros(4), torch.zeros(4)), (torch.zeros(3), torch.zeros(3))]


def test_both_definitions_in_closed_form() -> None:
    # v = 2 alpha - 1: the loss is 4 alpha (1 - alpha) + alpha, over a line from 0 to 1.
    curve = barrier(Constant(), value(-1.0), value(1.0), DATA, alphas=41, loss=bump, metric=near)
    assert curve.alphas[0] == 0 and curve.alphas[-1] == 1 and len(curve.alphas) == 41
    assert curve.train.loss[10] == pytest.approx(4 * 0.25 * 0.75 + 0.25, abs=1e-6)
    found = curve.barrier["loss"]
    assert found.over_line == pytest.approx(1.0, abs=1e-6)  # at alpha = 1/2
    highest = max(4 * a * (1 - a) + a for a in curve.alphas)  # 25/16, at alpha = 5/8
    assert found.over_mean == pytest.approx(highest - 0.5, abs=1e-6)
    assert highest == 1.5625
    assert curve.barrier["error"] == Barrier(1.0, 1.0)
    assert curve.train.count == 7 and curve.test is None and curve.test_barrier is None


def test_no_barrier_below_the_line() -> None:
    found = excess([0.0, 0.5, 1.0], [1.0, 0.2, 3.0])
    assert found == Barrier(over_line=0.0, over_mean=1.0)


def test_defaults_to_25_alphas_with_the_midpoint_and_both_data_sets() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    a, b = module.state_dict(), nn.Linear(4, 3).state_dict()
    train = [(torch.randn(20, 4), torch.randint(3, (20,)))]
    test = [(torch.randn(30, 4), torch.randint(3, (30,)))]
    calls: list[tuple[int, int]] = []
    curve = barrier(
        module, a, b, train, test=test, progress=lambda done, of: calls.append((done, of))
    )
    assert len(curve.alphas) == 25 and curve.alphas[12] == 0.5
    assert calls == [(done, 25) for done in range(26)]
    assert curve.test is not None and curve.test.count == 30
    middle = evaluate(module, average([a, b]), test)
    assert curve.test.loss[12] == middle.loss and curve.test.error is not None
    assert curve.test.error[12] == middle.error
    # Softmax regression is convex in its weights.
    assert curve.barrier["loss"].over_line == 0.0


def test_json_round_trip() -> None:
    module = nn.Linear(4, 3)
    data = [(torch.randn(20, 4), torch.randint(3, (20,)))]
    curve = barrier(module, module.state_dict(), nn.Linear(4, 3).state_dict(), data, test=data)
    text = json.dumps(curve.to_dict(), allow_nan=False)
    assert BarrierCurve.from_dict(json.loads(text)) == curve
    fields = json.loads(text)
    assert set(fields["barrier"]) == {"loss", "error"}
    assert set(fields["barrier"]["error"]) == {"over_line", "over_mean"}
    assert fields["test"]["barrier"] == fields["barrier"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 1"),
        ({"loss": [1.0]}, "'loss'.*3 finite"),
        ({"alphas": [0.0, 2.0, 1.0]}, "rise from 0 to 1"),
        ({"error": [0.1, "x", 0.2]}, r"\$\.error\[1\]"),
        ({"loss": [1.0, float("nan"), 1.0]}, "'loss'"),
        ({"count": None}, r"\$\.count"),
        ({"test": 3}, "object"),
    ],
)
def test_malformed_curves_are_refused(change: dict[str, Any], message: str) -> None:
    curve = barrier(Constant(), value(-1.0), value(1.0), DATA, alphas=3, loss=bump, metric=near)
    with pytest.raises(MergeError, match=message):
        BarrierCurve.from_dict({**curve.to_dict(), **change})


def normed(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    module(torch.randn(200, 6))  # statistics of its own
    return module


def test_statistics_are_reset_between_the_endpoints_only() -> None:
    a, b = normed(0).state_dict(), normed(1).state_dict()
    module = normed(2)
    data = [(torch.randn(64, 6), torch.randint(4, (64,)))]
    calibration = [torch.randn(128, 6)]
    stale = barrier(module, a, b, data, alphas=3)
    reset = barrier(module, a, b, data, alphas=3, reset=calibration)
    assert reset.statistics_reset and not stale.statistics_reset
    assert (reset.train.loss[0], reset.train.loss[2]) == (stale.train.loss[0], stale.train.loss[2])
    middle = evaluate(module, reset_statistics(module, average([a, b]), calibration), data)
    assert reset.train.loss[1] == middle.loss != stale.train.loss[1]


def test_a_correction_is_applied_between_the_endpoints() -> None:
    seen: list[float] = []

    def correction(alpha: float, state: Any) -> Any:
        seen.append(alpha)
        return value(7.0)

    curve = barrier(
        Constant(),
        value(-1.0),
        value(1.0),
        DATA,
        alphas=[0.0, 0.25, 1.0],
        loss=bump,
        metric=None,
        correction=correction,
    )
    assert seen == [0.25] and curve.corrected
    assert curve.train.loss[1] == pytest.approx(1 - 49 + 4)
    assert curve.train.error is None and set(curve.barrier) == {"loss"}


def test_errors() -> None:
    module, a, b = Constant(), value(-1.0), value(1.0)
    with pytest.raises(DataError, match="no batch"):
        barrier(module, a, b, [], loss=bump)
    with pytest.raises(DataError, match=r"test is a .*iterator.*list of batches"):
        barrier(module, a, b, DATA, test=iter(DATA))
    with pytest.raises(MergeError, match=r"alpha 1 is not finite.*second network"):
        barrier(module, a, value(float("nan")), DATA, alphas=2, loss=bump, metric=near)
    with pytest.raises(MergeError, match=r"alpha 0.5 is not finite.*reset the statistics"):
        barrier(module, a, b, DATA, alphas=3, loss=lambda o, t: 1 / o, metric=near)
    for alphas in (1, [0.0, 0.5], [0.0, 0.5, 0.5, 1.0]):
        with pytest.raises(MergeError, match="alphas"):
            barrier(module, a, b, DATA, alphas=alphas, loss=bump)
