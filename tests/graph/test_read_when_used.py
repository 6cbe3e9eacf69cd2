"""A module that reads its parameters operator by operator computes what it computes with them."""

import weakref

import pytest
import torch
from sample_models import CASES
from torch import Tensor, nn

from zooalign.graph.batches import Batch
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.graph.module_runner import Runner
from zooalign.graph.outputs import tensors
from zooalign.graph.read_when_used import ReadWhenUsed
from zooalign.symmetry.precision import LowestPrecision

LIBRARY = {
    "lstm": nn.LSTM(6, 8, 2, batch_first=True),
    "encoder layer": nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
}


def _alike(module: nn.Module, inputs: tuple[object, ...]) -> None:
    state = module.state_dict()
    held = Runner.of(module, state, torch.float64)
    late = Runner.of(module, ReadWhenUsed(state, torch.float64), torch.float64)
    pairs = zip(*(tensors(run(Batch(inputs, {}, None))) for run in (held, late)), strict=True)
    for one, other in pairs:
        assert type(other) is Tensor
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_samples(name: str) -> None:
    torch.manual_seed(0)
    _alike(CASES[name].build(), CASES[name].inputs())


@pytest.mark.parametrize("name", LIBRARY)
def test_modules_that_torch_runs_in_one_piece(name: str) -> None:
    _alike(LIBRARY[name], (torch.randn(2, 5, 6),))


def test_reading_is_no_step_of_the_computation() -> None:
    """Weights of 16 bits that are widened when read leave a run in float64 as precise as it is."""
    module = nn.Linear(4, 4).bfloat16()
    run = Runner.of(module, ReadWhenUsed(module.state_dict(), torch.float64), torch.float64)
    with LowestPrecision() as precision:
        run(Batch((torch.randn(3, 4, dtype=torch.float64),), {}, None))
    assert precision.lowest == torch.float64


def test_one_parameter_is_in_memory_at_a_time() -> None:
    module = nn.Sequential(*(nn.Linear(8, 8) for _ in range(20)))
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def read(name: str) -> Tensor:
        nonlocal most
        tensor = module.state_dict()[name].clone()
        alive.append(weakref.ref(tensor))
        most = max(most, sum(ref() is not None for ref in alive))
        return tensor

    state = LazyTensors({n: TensorInfo.of(t) for n, t in module.state_dict().items()}, read)
    Runner.of(module, ReadWhenUsed(state, torch.float32))(Batch((torch.randn(3, 8),), {}, None))
    assert len(alive) >= 40
    assert most <= 2
