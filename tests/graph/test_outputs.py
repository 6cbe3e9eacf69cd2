"""Tensors inside objects: those of a result are outputs, those of an input must be seen."""

import dataclasses
from typing import Any

import pytest
import torch
from sample_models import L
from torch import Tensor, nn

from zooalign.errors import TraceError
from zooalign.graph.outputs import named_tensors, tensors
from zooalign.symmetry import extract_spec

X = torch.randn(2, 6)


@dataclasses.dataclass
class Holder:
    value: Any


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Net(nn.Module):
    """Logits, and hidden units in an object of some class."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        hidden = self.a(x).relu()
        return self.b(hidden), self.wrap(hidden)


@pytest.mark.parametrize("kind", [Holder, Slotted, lambda h: Holder({"deep": [Slotted(h)]})])
def test_hidden_units_in_an_object_are_an_output(kind: Any) -> None:
    assert extract_spec(Net(kind), (X,)).log10_order == 0
    assert extract_spec(Net(lambda h: kind(1)), (X,)).log10_order == pytest.approx(L(16))


def test_a_number_that_was_computed_is_an_output() -> None:
    """The unit that it is taken from has a meaning outside; the others are alike."""
    spec = extract_spec(Net(lambda h: h[0, 3].item()), (X,))
    assert spec.log10_order == pytest.approx(L(15))


def test_places_of_tensors_in_objects() -> None:
    cycle = Holder([torch.ones(1)])
    cycle.value.append(cycle)
    assert [place for place, _ in named_tensors({"aux": cycle})] == ["aux.value.0"]
    assert len(tensors(torch.distributions.Normal(torch.zeros(2), torch.ones(2)))) == 2
    assert not tensors([nn.Linear(2, 2), "text", 3, None, torch.float32])


def test_an_input_whose_tensors_are_not_seen_is_refused() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, batch: Any) -> Tensor:
            y: Tensor = self.b(self.a(batch.value).relu())
            return y

    with pytest.raises(TraceError, match=r"input 0 of Takes is a Holder.*register_dataclass"):
        extract_spec(Takes(), (Holder(torch.zeros(2, 6)),))
