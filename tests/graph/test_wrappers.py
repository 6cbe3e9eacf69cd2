"""Names that wrappers put before a module's own, and modules inside wrappers."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import zooalign
from zooalign.graph.wrappers import unwrapped, without_wrappers

NAMES = ("conv.weight", "fc.bias")
INPUT = torch.zeros(2, 6)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "model.", "model.module.", "ema."]
)
def test_prefixes_are_dropped(prefix: str) -> None:
    state = {prefix + name: name for name in NAMES} | {"n_averaged": ""}
    assert without_wrappers(state, NAMES) == {name: name for name in NAMES}


def test_names_inside_are_dropped() -> None:
    state = {"conv._checkpoint_wrapped_module.weight": 1, "fc._orig_mod.bias": 2}
    assert without_wrappers(state, NAMES) == {"conv.weight": 1, "fc.bias": 2}


def test_a_models_own_names_are_left() -> None:
    """A model whose parts are called as a wrapper's, one of several parts, one of another kind."""
    own = ["model.conv.weight", "model.fc.bias"]
    assert without_wrappers(dict.fromkeys(own), own) is None
    assert without_wrappers(dict.fromkeys([*own, "lm_head.weight"]), NAMES) is None
    assert without_wrappers(dict.fromkeys(["module.other"]), NAMES) is None


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, torch.compile])
def test_wrapped_modules_are_taken_out(wrap: type) -> None:
    plain, other = network(0), network(1)
    assert type(unwrapped(wrap(plain))) is nn.Sequential
    aligned = zooalign.align(wrap(other), to=plain, method="weight", example_inputs=INPUT)
    assert list(aligned.state_dict) == list(other.state_dict())
    # Also where the state dict of a wrapper is given.
    state = wrap(other).state_dict()
    again = zooalign.align(state, to=plain, method="weight", example_inputs=INPUT)
    assert all(torch.equal(again.state_dict[n], t) for n, t in aligned.state_dict.items())


def test_aligned_in_place_inside_a_wrapper() -> None:
    wrapped, other = nn.DataParallel(network(1)), network(0)
    before = wrapped(INPUT)
    zooalign.align(wrapped, to=other, method="weight", example_inputs=INPUT, inplace=True)
    assert torch.allclose(wrapped(INPUT), before, atol=1e-6)
    assert not torch.equal(wrapped.module[0].weight, network(1)[0].weight)
