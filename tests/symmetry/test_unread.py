"""A table that is longer than the example: rows that are not read are no hidden units."""

from collections.abc import Callable

import pytest
import torch
from sample_models import L
from torch import Tensor, nn

from zooalign.symmetry import extract_spec

SHORT, LONG = torch.randn(2, 6, 6), torch.randn(2, 40, 6)


class Positions(nn.Module):
    """Hidden units with a table of 64 positions added, of which the inputs read the first ones."""

    def __init__(self, rows: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.rows = rows
        self.i, self.o = nn.Linear(6, 8), nn.Linear(8, 3)
        self.table = nn.Parameter(torch.randn(1, 64, 8))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(self.table, x.shape[1])
        y: Tensor = self.o((self.i(x) + rows).tanh().mean(1))
        return y


READ = {
    "slice": lambda table, length: table[:, :length],
    "copied": lambda table, length: (table * 2).clone()[:, :length],
    "split": lambda table, length: table.split([length, 64 - length], 1)[0],
    "narrow": lambda table, length: table.narrow(1, 3, length),
}


@pytest.mark.parametrize("how", READ)
def test_rows_that_are_not_read_keep_their_order(how: str) -> None:
    net = Positions(READ[how]).eval()
    spec = extract_spec(net, (SHORT,))
    assert spec.log10_order == pytest.approx(L(8))
    with torch.no_grad():
        before = net(SHORT), net(LONG)
        net.load_state_dict(spec.apply(spec.random(1), net.state_dict()))
        for x, y in zip((SHORT, LONG), before, strict=True):
            assert torch.allclose(net(x), y, atol=1e-5)


def test_a_part_that_is_read_in_another_way_moves_on_its_own() -> None:
    """The last rows are read by a sum of squares, in any order."""

    def rows(table: Tensor, length: int) -> Tensor:
        return table[:, :length] + table[:, length:].square().sum()

    spec = extract_spec(Positions(rows), (SHORT,))
    assert spec.log10_order == pytest.approx(L(8) + L(58 * 8))
