"""Modules as users have them: what is no tensor that can be permuted is refused with its name."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from zooalign.errors import TraceError
from zooalign.graph.capture import capture
from zooalign.graph.module_tensors import attributes, module_tensors
from zooalign.symmetry import extract_spec
from zooalign.symmetry.groups import log10_factorial as L

X = torch.randn(2, 6)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


class Versioned(nn.Sequential):
    def get_extra_state(self) -> Any:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_names_are_those_of_the_state_dict() -> None:
    """A wrapper's hook takes its own part out of the names."""
    net = nn.Sequential(checkpoint_wrapper(nn.Linear(6, 16)), nn.ReLU(), nn.Linear(16, 3)).eval()
    spec = extract_spec(net, (X,))
    assert spec.log10_order == pytest.approx(L(16))
    assert not spec.unused
    before = net(X)
    net.load_state_dict(spec.apply(spec.random(0), net.state_dict()))
    assert torch.allclose(net(X), before, atol=1e-6)


def test_extra_state_is_no_tensor_of_the_spec() -> None:
    net = Versioned(*mlp())
    spec = extract_spec(net, (X,))
    assert spec.log10_order == pytest.approx(L(16))
    state = net.state_dict()
    moved = spec.apply(spec.random(0), state)
    assert moved["_extra_state"] == {"version": 1}


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear})


def losing() -> nn.Module:
    net = mlp()

    def drop(module: nn.Module, state: dict[str, Tensor], *rest: Any) -> None:
        state["0.weight"] = state["0.weight"] * 2

    net.register_state_dict_post_hook(drop)
    return net


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (quantised, r"'0\._packed_params\.dtype' .* before it was quantised"),
    (lambda: nn.Sequential(nn.LazyLinear(4)), "parameter '0.weight' of Sequential has no shape"),
    (lambda: torch.export.export(mlp(), (X,)).module(), "pass the module that it was exported"),
    (lambda: torch.export.export(mlp(), (X,)), "an? ExportedProgram is not a torch.nn.Module"),
    (lambda: mlp().state_dict(), "OrderedDict is not a torch.nn.Module"),
    (losing, "does not hold its parameter '0.weight'"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=[w[:20] for _, w in REFUSED])
def test_what_has_no_units_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(TraceError, match=words):
        extract_spec(make(), (X,))


def test_attributes_are_found_in_lists_and_objects() -> None:
    class Cache:
        def __init__(self) -> None:
            self.keys = [torch.ones(2), torch.ones(3)]

    net = mlp()
    net[1].cache = Cache()
    assert list(attributes(net)) == ["1.cache.keys.0", "1.cache.keys.1"]
    assert list(module_tensors(net).others) == ["1.cache.keys.0", "1.cache.keys.1"]
    assert list(attributes(nn.LSTM(3, 4))) == [f"_flat_weights.{number}" for number in range(4)]
    assert not module_tensors(nn.LSTM(3, 4)).others


def test_a_transform_of_torch_func_is_followed() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = (
                nn.Parameter(torch.randn(4, 16, 6)),
                nn.Parameter(torch.randn(4, 3, 16)),
            )

        def forward(self, x: Tensor) -> Tensor:
            one = torch.vmap(lambda w, v: (x @ w.t()).relu() @ v.t())
            result: Tensor = one(self.w, self.v).mean(0)
            return result

    spec = extract_spec(Ensemble(), (X,))
    assert spec.log10_order == pytest.approx(L(4) + 4 * L(16))


def test_autocast_in_a_recorded_run_is_left_out() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                hidden = self.a(x).relu()
            return self.b(hidden[mask])

    inputs = (torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool))
    captured = capture(Masked(), inputs, allow_value_dependent=True)
    assert not any("autocast" in str(node.target) for node in captured.graph.nodes)
