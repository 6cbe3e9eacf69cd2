"""Shares of units and parameters, against counting by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zooalign.coverage.shares import free_parameters, hidden_units
from zooalign.symmetry import derive_spec
from zooalign.symmetry.converse import frozen_sets


def test_mlp() -> None:
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    derived = derive_spec(mlp, (torch.zeros(1, 4),))
    assert hidden_units(derived.spec, frozen_sets(derived)) == (8, 8)
    # All but the bias of the output.
    assert free_parameters(derived.spec) == (4 * 8 + 8 + 8 * 2, 4 * 8 + 8 + 8 * 2 + 2)


class Rotary(nn.Module):
    """One layer of attention with 2 heads of 4 dims; queries and keys are told apart by dim."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(5, 24), nn.Linear(8, 5)
        self.register_buffer("angle", torch.arange(12.0).reshape(3, 4).cos(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(x.shape[0], 3, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q * self.angle, k * self.angle, v)
        return self.out(y.transpose(1, 2).reshape(x.shape[0], 3, 8))


def test_frozen_units_count_in_each_head() -> None:
    derived = derive_spec(Rotary(), (torch.zeros(2, 3, 5),))
    # Free: 2 heads, and 4 dims of values in each. Frozen: 4 dims of queries and keys in each.
    free, hidden = hidden_units(derived.spec, frozen_sets(derived))
    assert free == 2 + 2 * 4
    assert hidden - free == 2 * 4 * 2  # for queries and for keys
    touched, total = free_parameters(derived.spec)
    assert total - touched == 5  # the bias of the output: heads move all of qkv


def test_part_of_an_axis() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 7), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.a(x)
            return self.b(y[:, :5]), y[:, 5:]

    derived = derive_spec(Part(), (torch.zeros(2, 3),))
    assert hidden_units(derived.spec, frozen_sets(derived)) == (5, 5)
    assert free_parameters(derived.spec) == (5 * 3 + 5 + 10, 7 * 3 + 7 + 10 + 2)
