"""An optimizer that follows an aligned model: training goes on as it would have."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zooalign
from zooalign.errors import MergeError, SpecError


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 16, 2, 4, 4, generator=generator)
    return list(zip(x, torch.randint(0, 3, (20, 16), generator=generator), strict=True))


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, count: int = 20) -> list[float]:
    model.train()
    losses = []
    for x, y in batches()[:count]:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(model[0].weight.dtype)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2),
}


@pytest.fixture(scope="module")
def spec() -> zooalign.PermutationSpec:
    return zooalign.extract_spec(network(0).eval(), torch.zeros(2, 2, 4, 4))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_it_would_have(name: str, spec: zooalign.PermutationSpec) -> None:
    """The first 20 steps after alignment, to rounding; without the optimizer they are others."""
    model = network(1).double()
    optimizer = OPTIMIZERS[name](model.parameters())
    trained(model, optimizer, 5)
    followed, stale = (copy.deepcopy((model, optimizer)) for _ in "ab")
    expected = trained(model, optimizer)
    losses = []
    for moved, its in (followed, stale):
        aligned = zooalign.align(
            moved.eval(), to=network(0), method="weight", spec=spec,
            example_inputs=torch.zeros(2, 2, 4, 4), inplace=True,
        )  # fmt: skip
        assert aligned.match.moved_fraction > 0.5
        if moved is followed[0]:
            zooalign.apply_to_optimizer(its, moved, aligned)
        losses.append(trained(moved, its))
    assert losses[0] == pytest.approx(expected, rel=1e-7)
    assert losses[1] != pytest.approx(expected, rel=1e-7)


def test_what_does_not_follow_is_named(spec: zooalign.PermutationSpec) -> None:
    model, inputs = network(1), torch.zeros(2, 2, 4, 4)
    aligned = zooalign.align(
        model.eval(), to=network(0).eval(), method="weight", spec=spec, example_inputs=inputs
    )
    packed = torch.optim.Adam(model.parameters())
    trained(model, packed, 1)
    before = copy.deepcopy(packed.state_dict())
    packed.state[model[4].weight]["exp_avg"] = torch.zeros(3, 256)
    with pytest.raises(SpecError, match=r"keeps 'exp_avg' of shape \(3, 256\) for '4.weight'"):
        zooalign.apply_to_optimizer(packed, model, aligned)
    after = packed.state_dict()["state"]  # nothing was changed
    assert torch.equal(after[0]["exp_avg"], before["state"][0]["exp_avg"])
    other = network(2)
    strange = torch.optim.Adam(other.parameters())
    trained(other, strange, 1)
    with pytest.raises(MergeError, match=r"a parameter of shape .* not one of Sequential's"):
        zooalign.apply_to_optimizer(strange, model, aligned)
