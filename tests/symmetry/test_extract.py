"""The way from a module to its spec."""

import torch
from sample_models.small import TwoLayers
from torch import nn

from zooalign.symmetry import verify
from zooalign.symmetry.extract import extract_spec


def test_an_empty_parameter_moves_with_nothing() -> None:
    class Registers(nn.Module):
        """A transformer's register tokens, of which there are none."""

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 5)
            self.registers = nn.Parameter(torch.zeros(1, 0, 5))
            self.last = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cat([self.registers.expand(x.shape[0], -1, -1), self.first(x)], 1)
            return self.last(torch.tanh(x))  # type: ignore[no-any-return]

    inputs = (torch.randn(2, 4, 3),)
    spec = extract_spec(Registers(), inputs)
    assert [group.size for group in spec.groups] == [5]
    assert verify(Registers(), spec, inputs).ok


def test_a_module_that_cannot_run_in_float64_is_verified_in_float32() -> None:
    """A part of it names float32 itself."""
    module, inputs = TwoLayers(lambda h: h.tanh().float(), (3, 5, 2)), (torch.randn(4, 3),)
    spec = extract_spec(module, inputs)
    found = verify(module, spec, inputs)
    assert found.ok
