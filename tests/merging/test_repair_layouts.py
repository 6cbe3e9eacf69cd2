"""REPAIR and reset statistics for every layout of normalisation, and for weights in any product."""

from collections.abc import Callable

import pytest
import torch
from sample_models.layouts import RawWeights
from sample_models.streams import PreActivation
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zooalign.graph.capture import Capture, capture
from zooalign.graph.execute import steps
from zooalign.merging import average, repair, reset_statistics
from zooalign.merging.affine_correction import find_norms
from zooalign.merging.layers import find_layers

State = dict[str, Tensor]
IMAGES, ROWS, TOKENS = (32, 3, 6, 6), (64, 5), (16, 4, 6)


def norm_first() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


def norm_behind_activation() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 6), nn.GELU(),
        nn.BatchNorm1d(6, affine=False), nn.Linear(6, 2),
    )  # fmt: skip


def layer_norm_behind_activation() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 6), nn.RMSNorm(6), nn.SiLU(),
        nn.Linear(6, 2),
    )  # fmt: skip


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.InstanceNorm2d(4),
        nn.ReLU(), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


LAYOUTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...], int]] = {
    "norm, activation": (norm_first, IMAGES, (), 2),
    "activation, norm": (norm_behind_activation, ROWS, ("0.weight", "3.weight"), 2),
    "pre-activation": (
        PreActivation,
        IMAGES,
        ("stem.weight", "layers.0.weight", "layers.1.weight"),
        2,
    ),
    "LayerNorm and RMSNorm": (layer_norm_behind_activation, ROWS, ("0.weight", "3.weight"), 0),
    "GroupNorm and InstanceNorm": (group_norm, IMAGES, ("0.weight", "3.weight"), 0),
}


def trained_looking(build: Callable[[], nn.Module], seed: int) -> State:
    """Random weights and biases, and running statistics that fit no data."""
    torch.manual_seed(seed)
    state = build().double().eval().state_dict()
    for name, tensor in state.items():
        if tensor.ndim == 1 and "num" not in name:
            sign = 1 if "var" in name or "weight" in name else torch.randn(tensor.shape).sign()
            state[name] = (0.5 + torch.rand_like(tensor)) * sign
    return state


def batches(shape: tuple[int, ...], count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.4 for _ in range(count)
    ]


def unit_moments(
    captured: Capture, state: State, data: list[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of each repaired layer's units, from all outputs at once."""
    layers = {layer.node: layer for layer in find_layers(captured)[0]}
    found: dict[str, list[Tensor]] = {}
    for x in data:
        for node, value in steps(captured, state, (x,)):
            if node in layers:
                found.setdefault(layers[node].weight, []).append(layers[node].rows(value).clone())
    joined = {name: torch.cat(rows, 1) for name, rows in found.items()}
    return {name: (rows.mean(1), rows.std(1, correction=0)) for name, rows in joined.items()}


def norm_inputs(captured: Capture, state: State, data: list[Tensor]) -> dict[str, Tensor]:
    """What each batch normalisation gets, channels first, over all batches."""
    norms = {norm.source: norm.mean for norm in find_norms(captured)[0]}
    found: dict[str, list[Tensor]] = {}
    for x in data:
        for node, value in steps(captured, state, (x,)):
            if node in norms:
                found.setdefault(norms[node], []).append(value.movedim(1, 0).flatten(1).clone())
    return {name: torch.cat(rows, 1) for name, rows in found.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_unit_and_every_norm_has_its_statistics_at_once(layout: str) -> None:
    build, shape, expected, norms = LAYOUTS[layout]
    parents, data = [trained_looking(build, seed) for seed in (0, 1)], batches(shape)
    captured = capture(build().double(), (data[0],))
    merged = average(parents, (0.3, 0.7))
    result = repair(captured, merged, parents, (0.3, 0.7), data)
    assert result.repaired == expected and len(result.reset) == norms
    of_parents = [unit_moments(captured, parent, data) for parent in parents]
    found = unit_moments(captured, result.state, data)
    for name in expected:
        for kind in (0, 1):
            if kind == 0 and name in result.scale_only:
                continue
            wanted = 0.3 * of_parents[0][name][kind] + 0.7 * of_parents[1][name][kind]
            torch.testing.assert_close(found[name][kind], wanted, rtol=1e-7, atol=1e-7)
    for name, rows in norm_inputs(captured, result.state, data).items():
        running = (result.state[name], result.state[name.replace("mean", "var")])
        torch.testing.assert_close(running[0], rows.mean(1), rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(running[1], rows.var(1, correction=1), rtol=1e-7, atol=1e-7)
        assert not torch.allclose(running[1], merged[name.replace("mean", "var")], rtol=0.05)


def test_where_norms_follow_directly_it_is_a_reset() -> None:
    """One batch: the same as resetting layer by layer, but for n against n - 1 in the variance."""
    parents, data = (
        [trained_looking(norm_first, seed) for seed in (0, 1)],
        batches((256, 3, 6, 6), 1),
    )
    module = norm_first().double()
    captured, merged = capture(module, (data[0],)), average(parents)
    repaired = repair(captured, merged, parents, None, data)
    reset = reset_statistics(module, merged, data)
    assert repaired.reset == ("1.running_mean", "4.running_mean")
    for name, tensor in reset.items():
        if name.startswith("1.running"):  # no norm before it
            torch.testing.assert_close(repaired.state[name], tensor, rtol=1e-12, atol=1e-12)
        elif "running" in name:
            torch.testing.assert_close(repaired.state[name], tensor, rtol=2e-3, atol=1e-4)
        else:
            assert torch.equal(repaired.state[name], merged[name])


def test_folded_norms_get_the_statistics_the_norms_had() -> None:
    """Folded, a layer's units have mean beta and deviation gamma: REPAIR gives their averages."""
    data = batches((64, 3, 6, 6), 2)
    folded, betas, gammas = [], [], []
    for seed in (0, 1):
        module = norm_first().double().eval()
        state = trained_looking(norm_first, seed)
        # Statistics that fit the data, over all of it.
        captured = capture(module, (data[0],))
        module.load_state_dict(repair(captured, state, [state], None, data).state)
        betas.append([module[n].bias.detach() for n in (1, 4)])
        gammas.append([module[n].weight.detach() for n in (1, 4)])
        plain = nn.Sequential(
            fuse_conv_bn_eval(module[0], module[1]), nn.ReLU(),
            fuse_conv_bn_eval(module[3], module[4]), nn.ReLU(), module[6], module[7],
        ).double()  # fmt: skip
        torch.testing.assert_close(plain(data[0]), module(data[0]))
        folded.append(plain.state_dict())
    captured = capture(plain, (data[0],))
    result = repair(captured, average(folded), folded, None, data)
    assert result.repaired == ("0.weight", "2.weight") and not result.reset
    found = unit_moments(captured, result.state, data)
    for number, name in enumerate(result.repaired):
        beta, gamma = ((x[0][number] + x[1][number]) / 2 for x in (betas, gammas))
        torch.testing.assert_close(found[name][0], beta, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found[name][1], gamma, rtol=5e-3, atol=1e-3)


def test_weights_in_any_product_are_repaired() -> None:
    parents, data = [trained_looking(RawWeights, seed) for seed in (0, 1)], batches(TOKENS)
    captured = capture(RawWeights().double(), (data[0],))
    result = repair(captured, average(parents), parents, None, data)
    assert result.repaired == ("heads", "mixed", "turned", "experts", "left")
    assert result.scale_only == ("turned", "experts", "left")
    assert result.skipped == (("out", "it is the network's output"),)
    of_parents = [unit_moments(captured, parent, data) for parent in parents]
    found = unit_moments(captured, result.state, data)
    assert [len(found[n][0]) for n in result.repaired] == [12, 7, 5, 24, 3]
    for name in result.repaired:
        for kind in (1,) if name in result.scale_only else (0, 1):
            wanted = (of_parents[0][name][kind] + of_parents[1][name][kind]) / 2
            torch.testing.assert_close(found[name][kind], wanted, rtol=1e-7, atol=1e-7)
    assert {n: t.shape for n, t in result.state.items()} == {
        n: t.shape for n, t in parents[0].items()
    }


def test_a_norm_used_twice_is_left_and_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.layer, self.out = nn.BatchNorm1d(5), nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.layer(self.norm(x)).relu()))

    parents, data = [trained_looking(Twice, seed) for seed in (0, 1)], batches(ROWS)
    result = repair(capture(Twice().double(), (data[0],)), average(parents), parents, None, data)
    assert (
        result.reset == () and ("norm.running_mean", "it is used more than once") in result.skipped
    )
