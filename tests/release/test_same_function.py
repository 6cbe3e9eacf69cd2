"""Comparing functions."""

import pytest
import torch
from torch import nn

from zooalign.errors import SpecError
from zooalign.release.same_function import compare_functions


def test_a_mis_tied_unit_is_seen_in_every_precision() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    inputs = (torch.randn(4, 8),)
    order = torch.randperm(16)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        state = {name: t.to(dtype) for name, t in module.state_dict().items()}
        moved = {
            "0.weight": state["0.weight"][order],
            "0.bias": state["0.bias"][order],
            "2.weight": state["2.weight"][:, order],
            "2.bias": state["2.bias"],
        }
        assert compare_functions(module, state, moved, inputs).ok
        wrong = compare_functions(module, state, {**moved, "2.weight": state["2.weight"]}, inputs)
        assert not wrong.ok and wrong.max_relative_error > 100 * wrong.tolerance
    exact = compare_functions(module.double(), module.state_dict(), module.state_dict(), inputs)
    assert exact.tolerance < 1e-11


def test_outputs_that_are_not_finite_prove_nothing() -> None:
    module = nn.Linear(2, 2)
    state = {name: t * float("inf") for name, t in module.state_dict().items()}
    with pytest.raises(SpecError, match="finite"):
        compare_functions(module, state, state, (torch.zeros(1, 2),))
