"""Properties of a refit that hold for any network and any data."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from zooalign.errors import DataError, MergeError
from zooalign.graph.capture import Capture, capture
from zooalign.matching import match
from zooalign.merging.calibration_inputs import fitting_batches, labels_of
from zooalign.merging.interpolate import average
from zooalign.merging.refit import RefitResult, RefitSettings, refit
from zooalign.merging.refit.agreement import divergence
from zooalign.merging.refit.features import Features, places_of
from zooalign.merging.refit.plan import planned
from zooalign.merging.refit.samples import Split
from zooalign.merging.refit.sums import Sums
from zooalign.merging.refit.targets import Calibration, Parents
from zooalign.merging.refit.walk import Walk
from zooalign.progress import silent
from zooalign.symmetry.extract import extract_spec

ROWS = 20


class _Residual(nn.Module):
    """A residual block with a projection, batch normalisations, and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4)
        self.bn2 = nn.BatchNorm2d(8)
        self.short = nn.Conv2d(3, 8, 1, stride=2)
        self.depth = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        y += self.short(x)
        y = self.depth(F.relu(y))
        logits: Tensor = self.head(F.gelu(y).mean((2, 3)))
        return logits


class _Attention(nn.Module):
    """Einsum and matrix products with raw weights, and a residual stream without norms."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Parameter(torch.randn(2, 3, 6) / 2) for _ in range(3)
        )
        self.out = nn.Parameter(torch.randn(6, 6) / 2)
        self.up, self.bias = nn.Parameter(torch.randn(6, 9) / 2), nn.Parameter(torch.randn(9))
        self.down = nn.Linear(9, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.query, self.key, self.value))
        mixed = torch.einsum("biqp,biph->biqh", (q @ k.mT).softmax(-1), v)
        x = x + mixed.transpose(1, 2).flatten(2) @ self.out
        x = x + self.down(F.relu(x @ self.up + self.bias))
        return x.mean(1)


class _Scaled(nn.Module):
    """Layer scales in front of sums: of channels on the last axis, and moved to the first."""

    def __init__(self, act: nn.Module | None = None) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 9), nn.Linear(9, 6)
        self.gamma = nn.Parameter(torch.randn(6))
        self.mix, self.beta = nn.Linear(6, 6, bias=False), nn.Parameter(torch.randn(6))
        self.act = act or nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(self.act(self.up(x))) * self.gamma
        x = x.transpose(1, 2)
        return x + self.mix(x.mT).permute(0, 2, 1).mul(self.beta.reshape(1, -1, 1))


class _Tied(nn.Module):
    """Layers that are used twice, a transposed convolution, and a computed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(6, 6)
        self.up = nn.ConvTranspose1d(1, 1, 3, padding=1)
        self.raw = nn.Parameter(torch.randn(6, 6))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(F.relu(self.twice(x)))
        x = self.up(x[:, None])[:, 0]
        logits: Tensor = self.head(F.linear(x, self.raw.exp()))
        return logits


def _states(module: nn.Module, count: int) -> list[dict[str, Tensor]]:
    """Random state dicts of a module, their running statistics and norms too."""
    states = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        states.append(
            {
                name: torch.randn(t.shape, generator=generator).abs() + 0.5
                if name.endswith("running_var")
                else t + 0.5 * torch.randn(t.shape, generator=generator)
                if t.is_floating_point()
                else t
                for name, t in module.state_dict().items()
            }
        )
    return states


def _data(*shape: int, batches: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(ROWS, *shape, generator=generator) for _ in range(batches)]


def _refit(
    module: nn.Module,
    parents: list[dict[str, Tensor]],
    data: list[Tensor],
    weights: list[float] | None = None,
    **settings: object,
) -> RefitResult:
    return refit(_captured(module, data[0]), parents, weights, data, RefitSettings(**settings))  # type: ignore[arg-type]


_CAPTURES: dict[object, Capture] = {}


def _captured(module: nn.Module, x: Tensor) -> Capture:
    """The graph of a module; one for all modules of a class that prints the same."""
    key = str(module), x.shape
    if key not in _CAPTURES:
        _CAPTURES[key] = capture(module.eval(), (x,))
    return _CAPTURES[key]


def _outputs(module: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = functional_call(module, dict(state), (x,))
    return output


def _require_same_function(
    module: nn.Module, one: Mapping[str, Tensor], other: Mapping[str, Tensor], x: Tensor
) -> None:
    torch.testing.assert_close(
        _outputs(module, one, x), _outputs(module, other, x), rtol=1e-3, atol=1e-3
    )


def _mean_output(module: nn.Module, states: list[dict[str, Tensor]], x: Tensor) -> Tensor:
    return torch.stack([_outputs(module, state, x) for state in states]).mean(0)


NETWORKS = {
    "residual": (_Residual, (3, 8, 8)),
    "attention": (_Attention, (4, 6)),
    "scaled": (_Scaled, (4, 6)),
    "tied": (_Tied, (6,)),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    kind, shape = NETWORKS[request.param]
    return kind().eval(), _data(*shape)


@pytest.mark.parametrize(("ridge", "rounds"), [(1e-3, 0), (1.0, 5), ("auto", 0)])
def test_equal_parents_return_themselves(
    network: tuple[nn.Module, list[Tensor]], ridge: float, rounds: int
) -> None:
    module, data = network
    parent = _states(module, 1)[0]
    result = _refit(
        module, [parent, parent], data, method="least-squares", ridge=ridge, relu_rounds=rounds
    )
    wanted = _outputs(module, parent, data[0])
    torch.testing.assert_close(
        _outputs(module, result.state, data[0]), wanted, rtol=1e-3, atol=1e-3
    )


def test_a_weight_of_one_returns_a_parent(network: tuple[nn.Module, list[Tensor]]) -> None:
    module, data = network
    states = _states(module, 3)
    result = _refit(module, states, data, [0.0, 1.0, 0.0], method="least-squares", relu_rounds=3)
    wanted = _outputs(module, states[1], data[0])
    torch.testing.assert_close(
        _outputs(module, result.state, data[0]), wanted, rtol=1e-3, atol=1e-3
    )


def test_layer_scales_are_passed_on_the_way_to_the_sum() -> None:
    torch.manual_seed(0)
    module, data = _Scaled(act=nn.Identity()).eval(), _data(4, 6, batches=5)
    states = [
        state | {"gamma": torch.rand(6) + 0.5, "beta": torch.rand(6) - 2}
        for state in _states(module, 3)
    ]
    weights = [0.5, 0.3, 0.2]
    fits = planned(_captured(module, data[0]), RefitSettings()).fits.values()
    scales = {fit.product.name: fit.chain.scale for fit in fits if fit.chain.other is not None}
    assert scales == {"down.weight": "gamma", "mix.weight": "beta"}
    result = _refit(module, states, data, weights, method="least-squares", ridge=1e-9)
    assert all(torch.equal(result.state[n], average(states, weights)[n]) for n in ("gamma", "beta"))
    x = _data(4, 6, batches=1)[0] * 3  # beyond the calibration data
    # Of this network without an activation, only the first half is linear in one refitted product.
    first = [
        _outputs(module, state | {"beta": torch.zeros(6)}, x)
        for state in (*states, dict(result.state))
    ]
    wanted = sum(w * y for w, y in zip(weights, first[:3], strict=True))
    torch.testing.assert_close(first[3], wanted, rtol=1e-3, atol=1e-3)


def test_a_scale_that_cancels_leaves_its_units_averaged() -> None:
    torch.manual_seed(0)
    module, data = _Scaled().eval(), _data(4, 6)
    one, other = _states(module, 2)
    other["gamma"] = one["gamma"] * torch.tensor([1.0, -1, 1, 1, 1, 1])
    result = _refit(module, [one, other], data, method="least-squares")
    plain = average([one, other])
    kept = (result.state["down.weight"] == plain["down.weight"]).all(1)
    assert kept.tolist() == [False, True, False, False, False, False]
    assert all(t.isfinite().all() for t in result.state.values())


def test_a_linear_network_becomes_the_mean_function() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 8), nn.Linear(8, 4)).eval()
    states, data = _states(module, 3), _data(6, batches=5)
    result = _refit(
        module, states, data, [0.5, 0.3, 0.2], method="least-squares", ridge=1e-9, memory=1 << 20
    )
    x = _data(6, batches=1)[0] * 3  # beyond the calibration data
    outputs = [_outputs(module, state, x) for state in states]
    wanted = sum(w * y for w, y in zip([0.5, 0.3, 0.2], outputs, strict=True))
    torch.testing.assert_close(_outputs(module, result.state, x), wanted, rtol=1e-3, atol=1e-3)


def test_a_planted_permutation_gives_the_parents_function() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)).eval()
    (parent,), data = _states(module, 1), _data(6)
    spec = extract_spec(module, (data[0],))
    permuted = spec.apply(spec.random(1), parent)
    aligned = spec.apply(match(spec, parent, permuted, method="weight").permutation, permuted)
    result = _refit(module, [parent, dict(aligned)], data, method="least-squares")
    x = _data(6, batches=1)[0]
    _require_same_function(module, result.state, parent, x)


def test_sums_of_two_halves_add_to_those_of_the_whole() -> None:
    torch.manual_seed(0)
    rows, targets = torch.randn(40, 2, 5), torch.randn(40, 2, 3)
    whole = Sums.of(rows, targets)
    halves = Sums.of(rows[:15], targets[:15]) + Sums.of(rows[15:], targets[15:])
    for name in ("count", "gram", "cross", "squares", "inputs", "targets"):
        torch.testing.assert_close(getattr(halves, name), getattr(whole, name))


def test_the_split_into_batches_does_not_matter() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)).eval()
    states, data = _states(module, 2), _data(6, batches=4)
    whole = [torch.cat(data)]
    split, together = (
        _refit(module, states, batches, method="least-squares", ridge=0.1, relu_rounds=3).state
        for batches in (data, whole)
    )
    for name in split:
        torch.testing.assert_close(split[name], together[name])


def test_a_refit_is_nearer_to_the_parents_mean(network: tuple[nn.Module, list[Tensor]]) -> None:
    module, data = network
    states = _states(module, 2)
    held = _data(*data[0].shape[1:], batches=4)[-1]
    wanted = _mean_output(module, states, held)
    misses = [
        (_outputs(module, _refit(module, states, data, method=method).state, held) - wanted)
        .square()
        .mean()
        for method in ("least-squares", "none")
    ]
    assert misses[0] < misses[1]


@pytest.mark.parametrize("inputs", [6, 90])
def test_the_solution_is_that_of_the_normal_equations(inputs: int) -> None:
    """With fewer inputs than rows, and with more, where it is solved in the space of the rows."""
    torch.manual_seed(0)
    module, x = nn.Linear(inputs, 4).double().eval(), torch.randn(ROWS, inputs).double()
    states = _states(module, 2)
    result = _refit(module, states, [x], method="least-squares", ridge=0.2)
    start = (states[0]["weight"] + states[1]["weight"]).T / 2
    wanted, centred = _mean_output(module, states, x), x - x.mean(0)
    gram = centred.T @ centred
    pull = 0.2 * gram.diagonal().mean() * torch.eye(inputs)
    solution = start + torch.linalg.solve(gram + pull, centred.T @ (wanted - x @ start))
    torch.testing.assert_close(result.state["weight"], solution.T)
    torch.testing.assert_close(result.state["bias"], wanted.mean(0) - x.mean(0) @ solution)
    layer = result.layers[0]
    assert layer.error_before is not None and layer.error_after is not None
    assert layer.error_after < layer.error_before + 1e-9 < 1


class _Flattened(nn.Module):
    """A product of flattened tokens (``addmm``) in a residual stream, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.tanh().view(-1, 6), self.weight)
        return F.relu(x + flat.view(x.shape))


def test_rows_may_be_flattened_before_a_product() -> None:
    torch.manual_seed(0)
    module, data = _Flattened().eval(), _data(4, 6)
    (fit,) = planned(_captured(module, data[0]), RefitSettings()).fits.values()
    assert fit.chain.other is not None and fit.chain.relu
    parent = _states(module, 1)[0]
    result = _refit(module, [parent, parent], data, method="least-squares", relu_rounds=3)
    _require_same_function(module, result.state, parent, data[0])


def test_every_product_is_refitted_or_has_a_reason() -> None:
    torch.manual_seed(0)
    module, data = _Tied().eval(), _data(6)
    result = _refit(module, _states(module, 2), data, method="least-squares")
    reasons = {layer.name: layer.reason for layer in result.layers}
    assert reasons.keys() >= {"twice.weight", "up.weight", "raw", "head.weight"}
    assert "more than once" in str(reasons["twice.weight"])
    assert "transposed" in str(reasons["up.weight"])
    assert "computed" in str(reasons["raw"])
    assert reasons["head.weight"] is None


def test_layers_beyond_the_memory_stay_averaged() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 60), nn.ReLU(), nn.Linear(60, 4)).eval()
    states, data = _states(module, 2), _data(6)
    result = _refit(module, states, data, method="least-squares", memory=20_000)
    first, last = result.layers
    assert first.reason is None
    assert "memory" in str(last.reason)
    torch.testing.assert_close(
        result.state["2.weight"], (states[0]["2.weight"] + states[1]["2.weight"]) / 2
    )


def test_only_some_layers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)).eval()
    states, data = _states(module, 2), _data(6)
    result = refit(
        _captured(module, data[0]),
        states,
        None,
        data,
        RefitSettings(method="least-squares"),
        only=lambda name: name == "2.weight",
    )
    average = (states[0]["0.weight"] + states[1]["0.weight"]) / 2
    torch.testing.assert_close(result.state["0.weight"], average)
    assert [layer.reason is None for layer in result.layers] == [False, True]


def test_the_choice_is_made_on_rows_held_out() -> None:
    torch.manual_seed(0)
    module, data = _Residual().eval(), _data(3, 8, 8)
    result = _refit(module, _states(module, 2), data)
    assert result.held_out_rows == 12
    assert result.calibration_rows == 60
    best = max(result.agreement, key=lambda name: result.agreement[name])
    assert result.agreement[best] == max(result.agreement.values())
    assert best.startswith(result.method)


def test_feature_steps_are_never_worse_than_their_start() -> None:
    torch.manual_seed(0)
    module, data = _Residual().eval(), _data(3, 8, 8)
    states, split, settings = _states(module, 2), Split(holding=True), RefitSettings(steps=12)
    plan = planned(_captured(module, data[0]), settings)
    inputs = [(x,) for x in data]
    calibration = Calibration(states, (0.5, 0.5), average(states), inputs, ROWS)
    parents = Parents(plan, calibration, settings)
    start = Walk(plan, calibration, settings, parents).run(split)
    trained = Features(plan, calibration, settings, split).trained(start.state, None, silent)
    assert trained is not None
    missed = [divergence(net.outputs, start.wanted, split, ROWS) for net in (trained, start)]
    assert missed[0] < missed[1]
    # A start that is the target cannot be improved.
    one = replace(calibration, shares=(1.0, 0.0))
    perfect = Walk(plan, one, settings, Parents(plan, one, settings)).run(split)
    assert Features(plan, one, settings, split).trained(perfect.state, None, silent) is None


def test_feature_steps_are_fitted_on_rows_not_held_out() -> None:
    torch.manual_seed(0)
    module, data = _Residual().eval(), _data(3, 8, 8)
    result = _refit(module, _states(module, 2), data, method="features", steps=4, relu_rounds=0)
    assert list(result.agreement) == ["least-squares", "features"]
    assert (result.calibration_rows, result.held_out_rows) == (48, 12)


def test_feature_steps_pull_at_residual_sums_or_at_activations() -> None:
    residual = planned(_captured(_Residual(), _data(3, 8, 8)[0]), RefitSettings())
    assert [n.name for n in places_of(residual, ROWS)] == ["relu_", "relu"]
    chain = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 2))
    plan = planned(_captured(chain, _data(6)[0]), RefitSettings())
    assert [n.name for n in places_of(plan, ROWS)] == ["relu", "tanh"]


def test_a_temperature_sets_the_scale_of_the_logits() -> None:
    torch.manual_seed(0)
    module, data = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).eval(), _data(6)
    states = _states(module, 2)
    plain, scaled = (
        _refit(module, states, data, method="none", temperature=temperature)
        for temperature in (False, True)
    )
    assert plain.temperature is None
    assert scaled.temperature is not None
    assert scaled.held_out_rows == 12
    x = _data(6, batches=1)[0]
    torch.testing.assert_close(
        _outputs(module, scaled.state, x) * scaled.temperature, _outputs(module, plain.state, x)
    )
    wanted, split = [_mean_output(module, states, x) for x in data], Split(holding=True)
    apart = [
        divergence([_outputs(module, result.state, x) for x in data], wanted, split, ROWS)
        for result in (scaled, plain)
    ]
    assert apart[0] < apart[1]


def test_labels_are_asked_for_where_there_are_none() -> None:
    module, data = nn.Sequential(nn.Linear(6, 4)).eval(), _data(6)
    with pytest.raises(DataError, match="targets"):
        _refit(module, _states(module, 2), data, method="features", labels=True)


def test_the_same_twice_whether_or_not_the_parents_targets_fit_into_memory() -> None:
    torch.manual_seed(0)
    module, data = _Residual().eval(), _data(3, 8, 8)
    states = _states(module, 2)
    one, other = (
        _refit(module, states, data, memory=memory).state for memory in (4 << 30, 200_000)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_batches_of_one_row() -> None:
    torch.manual_seed(0)
    module, data = _Residual().eval(), [x[None] for x in _data(3, 8, 8)[0]]
    parent = _states(module, 1)[0]
    result = _refit(module, [parent, parent], data)
    assert result.calibration_rows == ROWS
    _require_same_function(module, result.state, parent, data[0])


def test_rows_of_batches_of_other_sizes_are_put_together() -> None:
    module = nn.Sequential(nn.Linear(6, 4)).eval()
    x, y = torch.randn(19, 6), torch.arange(19) % 4
    states = _states(module, 2)
    captured = capture(module, (x[:5],))
    pieces = [(5, 2, 6, 4, 2), (5, 5, 5, 4)]
    uneven, even = (
        refit(captured, states, None, list(zip(x.split(sizes), y.split(sizes), strict=True)))
        for sizes in (list(p) for p in pieces)
    )
    assert uneven.calibration_rows == even.calibration_rows == 15
    assert uneven.left_out_rows == even.left_out_rows == 4
    for name, tensor in even.state.items():
        assert torch.equal(uneven.state[name], tensor), name
    longer = refit(captured, states, None, [x[:5], torch.randn(5, 7), torch.randn(4, 7)])
    assert (longer.calibration_rows, longer.left_out_rows) == (5, 9)


def test_labels_follow_their_rows_into_other_batches() -> None:
    module = nn.Sequential(nn.Linear(6, 4)).eval()
    captured = capture(module, (torch.randn(4, 6),))
    x, y = torch.randn(8, 6), torch.arange(8) % 4
    sizes = [3, 5]
    batches, left = fitting_batches(
        captured, module.state_dict(), list(zip(x.split(sizes), y.split(sizes), strict=True))
    )
    assert left == 0
    assert torch.equal(torch.cat([batch.args[0] for batch in batches]), x)
    labels = labels_of(batches)
    assert labels is not None and torch.equal(labels, y)


def test_data_of_other_shapes_and_bad_settings_are_refused() -> None:
    module = nn.Sequential(nn.Linear(6, 4)).eval()
    captured = capture(module, (torch.randn(5, 6),))
    states = _states(module, 2)
    with pytest.raises(DataError, match="shapes"):
        refit(captured, states, None, [torch.randn(4, 6)])
    with pytest.raises(MergeError, match="ridge"):
        RefitSettings(ridge=0.0)
    with pytest.raises(MergeError, match="not finite"):
        refit(
            captured,
            states,
            None,
            [torch.full((5, 6), torch.inf)],
            RefitSettings(method="least-squares"),
        )
