"""Weight matching: the objective rises, the descent stops, more starts are never worse."""

import weakref
from functools import partial

import pytest
import torch
from sample_models.streams import ResidualBlocks
from torch import nn

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo, float_state
from zooalign.matching import match, weight
from zooalign.symmetry import extract_spec


def _pair(seed: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    return ResidualBlocks(), ResidualBlocks()


@pytest.mark.parametrize("scale", ["plain", "balanced", "cosine"])
def test_the_objective_is_what_it_says_and_rises(scale: str) -> None:
    a, b = _pair(0)
    spec = extract_spec(a, (torch.zeros(1, 4),))
    found = match(spec, a, b, method="weight", scale=scale)
    moved = spec.apply(found.permutation, b.state_dict())
    power = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}[scale]

    def objective(state: dict[str, torch.Tensor]) -> float:
        total = norm = 0.0
        for name, t in a.state_dict().items():
            if name not in spec.by_parameter:
                continue
            both = float(t.double().norm() * state[name].double().norm())
            total += float((t.double() * state[name].double()).sum()) / both**power
            norm += both ** (1 - power)
        return total / norm

    assert found.objective_before == pytest.approx(objective(dict(b.state_dict())), abs=1e-9)
    assert found.objective_after == pytest.approx(objective(moved), abs=1e-9)
    assert found.objective_after > found.objective_before
    again = match(spec, a, moved, method="weight", module=a, scale=scale)
    assert again.objective_after >= found.objective_after - 1e-12


def test_more_starts_are_never_worse_and_the_same_seed_gives_the_same() -> None:
    for seed in range(4):
        a, b = _pair(seed)
        spec = extract_spec(a, (torch.zeros(1, 4),))
        one = match(spec, a, b, method="weight", seed=seed)
        many = match(spec, a, b, method="weight", seed=seed, starts=8)
        assert many.objective_after >= one.objective_after
        assert many.details["spread"] >= 0
        assert (
            many.permutation == match(spec, a, b, method="weight", seed=seed, starts=8).permutation
        )


def test_buffers_take_no_part() -> None:
    torch.manual_seed(0)
    a = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    spec = extract_spec(a, (torch.zeros(1, 4),))
    assert set(spec.buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    b = {k: t.clone() for k, t in a.state_dict().items()}
    b["1.running_mean"] = torch.arange(6.0).flip(0) * 1e6
    a.state_dict()["1.running_mean"].copy_(torch.arange(6.0) * 1e6)
    assert match(spec, a, b, method="weight").moved_fraction == 0


def test_a_value_that_is_not_finite_is_named() -> None:
    a, b = _pair(0)
    spec = extract_spec(a, (torch.zeros(1, 4),))
    state = dict(b.state_dict())
    state["up.1.weight"] = state["up.1.weight"].clone()
    state["up.1.weight"][0, 0] = float("nan")
    with pytest.raises(MergeError, match=r"'up\.1\.weight' holds NaN"):
        match(spec, a, state, method="weight")


def test_half_precision_is_matched_as_it_stands() -> None:
    a, b = _pair(1)
    spec = extract_spec(a, (torch.zeros(1, 4),))
    states = [{k: t.bfloat16() for k, t in m.state_dict().items()} for m in (a, b)]
    found = match(spec, *states, method="weight")
    assert spec.apply(found.permutation, states[1])["up.0.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_read_when_needed_give_the_same_match(dtype: torch.dtype) -> None:
    """Also where there is room for none of what has moved, and blocks are of one column."""
    a, b = (
        {n: t.to(dtype) for n, t in module.state_dict().items() if t.is_floating_point()}
        for module in _pair(0)
    )
    spec = extract_spec(_pair(0)[0], (torch.zeros(1, 4),))
    held = match(spec, float_state(a, "cpu"), float_state(b, "cpu"), method="weight", starts=3)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def read(name: str, state: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal most
        tensor = state[name].clone()
        alive.add(tensor)
        most = max(most, sum(t.ndim > 1 for t in alive))
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_MOST_HELD", "_MOST_KEPT", "_BLOCK"):
            patch.setattr(weight, name, 0)
        patch.setattr(weight, "_LEAST_COLUMNS", 1)
        files = [
            LazyTensors({n: TensorInfo.of(t) for n, t in s.items()}, partial(read, state=s))
            for s in (a, b)
        ]
        late = match(spec, *files, method="weight", starts=3)
    assert late.permutation == held.permutation
    assert late.objective_after == pytest.approx(held.objective_after, abs=1e-12)
    assert most <= 4 < sum(t.ndim > 1 for t in a.values())
