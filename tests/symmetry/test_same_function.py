"""Comparing functions."""

import pytest
import torch
from torch import nn

from zooalign.errors import SpecError
from zooalign.symmetry.same_function import compare_functions


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
        right = compare_functions(module, state, moved, inputs)
        # Both runs compute in float64, whatever the weights are stored in.
        assert right.ok and right.tolerance < 1e-11
        wrong = compare_functions(module, state, {**moved, "2.weight": state["2.weight"]}, inputs)
        assert not wrong.ok and wrong.max_relative_error > 100 * wrong.tolerance
    exact = compare_functions(module.double(), module.state_dict(), module.state_dict(), inputs)
    assert exact.tolerance < 1e-11


def test_outputs_that_are_not_finite_prove_nothing() -> None:
    module = nn.Linear(2, 2)
    state = {name: t * float("inf") for name, t in module.state_dict().items()}
    with pytest.raises(SpecError, match="finite"):
        compare_functions(module, state, state, (torch.zeros(1, 2),))


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(8, 16), nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        h = self.body(x).relu()
        return {"logits": self.head(h), "more": [self.aux(h), h.sum()]}


def test_each_output_has_its_own_error() -> None:
    """A large output does not hide what is wrong in a small one."""
    torch.manual_seed(0)
    module = TwoOutputs()
    state = {name: t.clone() for name, t in module.state_dict().items()}
    state["head.weight"] *= 1e4
    changed = {**state, "aux.bias": state["aux.bias"] + 0.01}
    found = compare_functions(module, state, changed, (torch.randn(4, 8),))
    errors = dict(found.outputs)
    assert list(errors) == ["logits", "more.0", "more.1"]
    assert errors["logits"] == errors["more.1"] == 0 and errors["more.0"] > found.tolerance
    assert not found.ok
