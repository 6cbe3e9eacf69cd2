"""REPAIR gives every repaired unit the wanted mean and deviation on the calibration data."""

from collections.abc import Sequence

import pytest
import torch
from sample_models.streams import NormedResidual
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.capture import Capture, capture
from zooalign.graph.execute import evaluate, steps
from zooalign.merging import RepairResult, average, repair
from zooalign.merging.layers import find_layers

State = dict[str, Tensor]


def mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 5)
    )


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, groups=4, stride=2),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(8, 6, 2, groups=2),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding="same"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


SHAPES = {mlp: (32, 7), conv_net: (16, 3, 9, 9), NormedResidual: (8, 5, 6)}
REPAIRED = {
    mlp: ("0.weight", "2.weight"),
    conv_net: ("0.weight", "2.weight", "5.weight", "7.weight"),
    NormedResidual: ("inside.weight", "outside.weight"),
}


def states(build: type | object, count: int) -> list[State]:
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(build().state_dict())  # type: ignore[operator]
    return found


def batches(shape: Sequence[int], count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(*shape, generator=generator) + 0.5 for _ in range(count)]


def moments(
    captured: Capture, state: State, data: list[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of each layer's output, straight from all outputs at once."""
    layers, _ = find_layers(captured)
    found: dict[str, list[Tensor]] = {layer.weight: [] for layer in layers}
    axes = {layer.node: layer for layer in layers}
    for x in data:
        for node, value in steps(captured, state, (x,)):
            if node in axes:
                rows = axes[node].rows(value.double())
                found[axes[node].weight].append(rows)
    joined = {name: torch.cat(rows, 1) for name, rows in found.items()}
    return {name: (rows.mean(1), rows.std(1, correction=0)) for name, rows in joined.items()}


@pytest.mark.parametrize("build", [mlp, conv_net, NormedResidual])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 2.0, 1.0)])
def test_units_get_the_average_of_their_parents_statistics(
    build: type, weights: tuple[float, ...]
) -> None:
    parents = states(build, len(weights))
    data = batches(SHAPES[build])
    captured = capture(build(), (data[0],))
    merged = average(parents, weights)
    before = {name: tensor.clone() for name, tensor in merged.items()}
    result = repair(captured, merged, parents, weights, data)
    assert result.repaired == REPAIRED[build] and result.scale_only == ()
    assert result.dead_units == 0
    found = moments(captured, result.state, data)
    of_parents = [moments(captured, parent, data) for parent in parents]
    stale = moments(captured, merged, data)
    worst = 0.0
    for name in result.repaired:
        for kind in (0, 1):
            wanted = sum(
                w / sum(weights) * p[name][kind] for w, p in zip(weights, of_parents, strict=True)
            )
            torch.testing.assert_close(found[name][kind], wanted, rtol=1e-4, atol=1e-4)
            worst = max(worst, float((stale[name][kind] - wanted).abs().max()))
    assert worst > 0.05  # there was something to repair
    assert all(torch.equal(merged[name], before[name]) for name in merged)
    assert {n for n in merged if result.state[n] is not merged[n]} == {
        n for weight in result.repaired for n in (weight, weight.replace("weight", "bias"))
    }
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("build", [mlp, conv_net, NormedResidual])
def test_equal_parents_change_nothing(build: type) -> None:
    (state,) = states(build, 1)
    data = batches(SHAPES[build])
    result = repair(capture(build(), (data[0],)), state, [state, state], (0.3, 0.7), data)
    assert result.repaired == REPAIRED[build]
    for name, tensor in state.items():
        assert torch.equal(result.state[name], tensor), name


def run(module: nn.Module, shape: Sequence[int], parents: list[State]) -> RepairResult:
    data = batches(shape)
    return repair(capture(module, (data[0],)), average(parents), parents, None, data)


def test_without_bias_only_the_deviation_is_repaired() -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(7, 9, bias=False), nn.ReLU(), nn.Linear(9, 2))

    parents, data = states(build, 2), batches((32, 7))
    result = run(build(), (32, 7), parents)
    assert result.repaired == result.scale_only == ("0.weight",)
    assert list(result.state) == list(parents[0])
    captured = capture(build(), (data[0],))
    wanted = sum(moments(captured, p, data)["0.weight"][1] for p in parents) / 2
    found = moments(captured, result.state, data)["0.weight"][1]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_dead_units_are_left_alone() -> None:
    parents = states(mlp, 2)
    for parent, sign in zip(parents, (1, -1), strict=True):
        # Unit 3 varies in both parents and not in their average.
        parent["2.weight"][3] = sign * torch.ones(16)
        parent["2.bias"][3] = 2.0
    result = run(mlp(), (32, 7), parents)
    assert result.dead_units == 1
    assert torch.equal(result.state["2.weight"][3], torch.zeros(16))
    assert result.state["2.bias"][3] == 2.0
    assert all(torch.isfinite(tensor).all() for tensor in result.state.values())


def test_what_is_skipped_is_named_with_its_reason() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3)
            self.norm = nn.BatchNorm1d(4)
            self.twice = nn.Linear(6, 6)
            self.free = nn.Linear(6, 6)
            self.tied = nn.Linear(6, 6, bias=False)
            self.tied.weight = self.free.weight
            self.stacked = nn.Parameter(torch.randn(2, 6, 6))
            self.scale = nn.Parameter(torch.ones(6, 1))
            self.scaled = nn.Parameter(torch.randn(6, 6))
            self.last = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x)).relu()
            x = self.twice(self.twice(x).relu())
            x = self.tied(self.free(x).relu()) @ self.stacked[1]
            x = torch.nn.functional.linear(x, self.scaled * self.scale)
            return self.last(x).softmax(-1)

    result = run(Mixed(), (16, 4, 8), states(Mixed, 2))
    assert result.repaired == ()
    reasons = dict(result.skipped)
    assert "batch normalisation" in reasons["conv.weight"]
    assert "'twice.weight' is used more than once" in reasons["twice.weight"]
    assert any(
        "'free.weight' is used more" in r or "'tied.weight' is used more" in r
        for r in reasons.values()
    )
    assert any("matmul" in reason for reason in reasons.values())
    assert any("its weight is computed" in reason for reason in reasons.values())
    assert reasons["last.weight"] == "it is the network's output"


def test_a_transposed_product_as_in_gpt2() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(7, 9)), nn.Parameter(torch.randn(9))
            self.head = nn.Linear(9, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.addmm(self.bias, x, self.weight).relu())

    parents, data = states(Transposed, 2), batches((32, 7))
    result = run(Transposed(), (32, 7), parents)
    assert result.repaired == ("weight",)
    captured = capture(Transposed(), (data[0],))
    of_parents = [moments(captured, p, data)["weight"] for p in parents]
    found = moments(captured, result.state, data)["weight"]
    for kind in (0, 1):
        wanted = (of_parents[0][kind] + of_parents[1][kind]) / 2
        torch.testing.assert_close(found[kind], wanted, rtol=1e-4, atol=1e-4)


def test_the_repaired_network_is_nearer_to_its_parents_scale() -> None:
    parents, data = states(mlp, 2), batches((32, 7))
    captured = capture(mlp(), (data[0],))
    result = repair(captured, average(parents), parents, None, data)

    def spread(state: State) -> float:
        return float(evaluate(captured, state, (data[0],))[0].std(0).mean())

    target = (spread(parents[0]) + spread(parents[1])) / 2
    assert abs(spread(result.state) - target) < abs(spread(average(parents)) - target)


def test_bf16_stays_bf16() -> None:
    parents = [{n: t.bfloat16() for n, t in s.items()} for s in states(mlp, 2)]
    result = run(mlp().bfloat16(), (32, 7), parents)
    assert {t.dtype for t in result.state.values()} == {torch.bfloat16}


def test_errors() -> None:
    parents = states(mlp, 2)
    data = batches((32, 7))
    captured = capture(mlp(), (data[0],))
    merged = average(parents)
    with pytest.raises(DataError, match="no batch"):
        repair(captured, merged, parents, None, [])
    with pytest.raises(DataError, match=r"batch 1 has shapes \[\(9, 7\)\].*\[\(32, 7\)\]"):
        repair(captured, merged, parents, None, [data[0], data[1][:9]])
    with pytest.raises(MergeError, match="2 models were given and 1 weights"):
        repair(captured, merged, parents, [1.0], data)
    with pytest.raises(MergeError, match="no negative weight"):
        repair(captured, merged, parents, [2.0, -0.5], data)
    with pytest.raises(MergeError, match=r"'0.weight' is not finite"):
        repair(captured, merged, parents, None, [data[0] * float("inf")])
