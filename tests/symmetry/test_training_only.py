"""A head that only training reads stays behind when its units move: that is said, by name."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.errors import ZooalignWarning
from zooalign.symmetry import extract_spec
from zooalign.symmetry.training_only import left_behind

INPUT = torch.randn(4, 6)


class Auxiliary(nn.Module):
    """Hidden units that a head reads, and in training another one; a third is read by nothing."""

    def __init__(self, head: nn.Module, reads: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.head, self.reads, self.never = head, reads, nn.Linear(16, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        hidden = nn.functional.dropout(self.n(self.a(x)).relu(), 0.1, self.training)
        return [self.b(hidden), *([self.head(self.reads(x, hidden))] if self.training else [])]


def named(net: nn.Module) -> tuple[str, ...]:
    net.eval()
    spec = extract_spec(net, (INPUT,))
    flags = [part.training for part in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = left_behind(net, spec, spec.random(1), (INPUT,))
    assert [part.training for part in net.modules()] == flags
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert left_behind(net, spec, spec.identity(), (INPUT,)) == ()
    return found


READS = {
    "the units": (nn.Linear(16, 3), lambda x, h: h),
    "the units beside inputs": (nn.Linear(22, 3), lambda x, h: torch.cat([x, h], 1)),
    "two halves": (nn.Linear(8, 3), lambda x, h: h.reshape(-1, 2, 8)),
    "an operator without a rule": (nn.Linear(16, 3), lambda x, h: h @ torch.linalg.pinv(h) @ h),
}


@pytest.mark.parametrize("what", READS)
def test_a_head_that_reads_units_in_training_is_named(what: str) -> None:
    assert named(Auxiliary(*READS[what])) == ("head.weight",)


def test_a_head_is_named_only_if_its_units_move() -> None:
    assert named(Auxiliary(nn.Linear(6, 3), lambda x, h: x)) == ()
    token = nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 3))  # units of its own
    assert named(Auxiliary(token, lambda x, h: x)) == ()


def test_where_training_cannot_be_traced_sizes_decide() -> None:
    net = Auxiliary(nn.Linear(16, 3), lambda x, h: h if h.sum() > 0 else -h)
    assert named(net) == ("head.weight", "never.weight")


def test_align_and_merge_say_it() -> None:
    torch.manual_seed(0)
    nets = [Auxiliary(*READS["the units"]) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    spec = extract_spec(nets[0], (INPUT,))
    nets[1].load_state_dict(spec.apply(spec.random(1), nets[0].state_dict()))
    with pytest.warns(ZooalignWarning, match=r"'head.weight' take part in training only"):
        zooalign.align(nets[1], to=nets[0], method="weight", example_inputs=INPUT)
    with pytest.warns(ZooalignWarning, match=r"'head.weight' take part in training only"):
        zooalign.merge(*nets, method="weight", data=[INPUT], refit="none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zooalign.align(nets[0], to=nets[0], method="weight", example_inputs=INPUT)
