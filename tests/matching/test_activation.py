"""Activation matching reads a parameter once for batches that run side by side."""

from collections import Counter

import torch
from torch import Tensor, nn

from zooalign.graph.execute import live_bytes
from zooalign.graph.lazy_state import LazyTensors, Shared, TensorInfo
from zooalign.matching import Match, MatchProblem
from zooalign.matching.activation import ActivationMatching
from zooalign.matching.unit_responses import Activations
from zooalign.symmetry.extract import derive_spec


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        for up, down in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + down(up(x).relu())
        last: Tensor = self.last(x)
        return last


def _problem() -> MatchProblem:
    torch.manual_seed(0)
    a, b = _Residual().eval(), _Residual().eval()
    data = [torch.randn(rows, 6) for rows in (16, 16, 5, 16)]
    derived = derive_spec(a, (data[0],))
    return MatchProblem(derived.spec, a.state_dict(), b.state_dict(), a, data)


def _counted(state: dict[str, Tensor], reads: Counter[str]) -> LazyTensors:
    def read(name: str) -> Tensor:
        reads[name] += 1
        return state[name].clone()

    return LazyTensors({name: TensorInfo.of(t) for name, t in state.items()}, read)


def _match(memory: int, reads: Counter[str]) -> Match:
    problem = _problem()
    counted = _counted(dict(problem.target), reads)
    return ActivationMatching().solve(
        MatchProblem(
            *(problem.spec, counted, problem.source, problem.module, problem.data),
            memory=memory,
        )
    )


def test_how_many_batches_run_side_by_side_does_not_matter() -> None:
    whole, _ = Activations(_problem()).match()
    for memory in (0, 1, 10_000, 1_000_000_000):
        match = _match(memory, Counter())
        assert match.permutation == whole.permutation
        assert match.details == whole.details
        assert abs(match.objective_after - whole.objective_after) < 1e-12


def test_a_parameter_is_read_once_for_batches_of_one_shape_that_follow_each_other() -> None:
    alone, together = Counter[str](), Counter[str]()
    _match(0, alone)
    _match(1_000_000_000, together)
    # The device is that of the first tensor, which is looked at twice.
    assert {n: c for n, c in alone.items() if n != "first.weight"} == dict.fromkeys(
        [n for n in alone if n != "first.weight"], 4
    )
    assert {together[n] for n in alone if n != "first.weight"} == {3}
    # The last layer comes after the last place where units are seen.
    assert "last.weight" not in alone


def test_a_tensor_is_shared_as_long_as_it_is_held() -> None:
    reads = Counter[str]()
    state = Shared(_counted({"w": torch.ones(3)}, reads))
    one, other = state["w"], state["w"]
    assert one is other and reads["w"] == 1
    del one, other
    assert torch.equal(state["w"], torch.ones(3)) and reads["w"] == 2


def test_live_values_are_bounded_by_the_graph() -> None:
    problem = _problem()
    assert problem.module is not None
    captured = derive_spec(problem.module, (torch.randn(16, 6),)).traced.captured
    # The stream, a layer's result and its activation, of 16 rows with 8 floats.
    assert 2 * 16 * 8 * 4 <= live_bytes(captured) <= 4 * 16 * 8 * 4
