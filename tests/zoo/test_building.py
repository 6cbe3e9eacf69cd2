"""Modules without weights."""

import threading
import warnings

import pytest
import timm
import torch
from torch import nn

from zooalign.errors import CheckpointError
from zooalign.zoo.building import (
    assign_state_dict,
    build_initialised,
    build_on_meta,
    tied_names,
)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4, bias=False)
        self.b = nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight
        self.a.weight.tag = "kept"
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("table", torch.arange(4.0), persistent=False)


class NeedsValues(Shared):
    def __init__(self) -> None:
        super().__init__()
        self.scale = float(self.frozen.sum())


class BufferBesideParameter(Shared):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(2, device=self.frozen.device), persistent=False)


@pytest.mark.parametrize("kind", [Shared, NeedsValues, BufferBesideParameter])
def test_parameters_on_meta_buffers_with_values(kind: type[nn.Module]) -> None:
    module = build_on_meta(kind)
    assert all(parameter.is_meta for parameter in module.parameters())
    assert not any(buffer.is_meta for buffer in module.buffers())
    assert torch.equal(module.get_buffer("table"), torch.arange(4.0))
    assert tied_names(module) == (("a.weight", "b.weight"),)
    assert module.get_parameter("a.weight").tag == "kept"
    assert not module.get_parameter("frozen").requires_grad
    assert not module.training


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "levit_128s"],
)
def test_timm_families_keep_their_tables(name: str) -> None:
    module = build_on_meta(lambda: timm.create_model(name))
    expected = timm.create_model(name)
    assert [(k, p.shape) for k, p in module.named_parameters()] == [
        (k, p.shape) for k, p in expected.named_parameters()
    ]
    assert all(parameter.is_meta for parameter in module.parameters())
    found = dict(module.named_buffers())
    for key, buffer in expected.named_buffers():
        assert torch.equal(found[key], buffer), key


def test_a_large_model_takes_no_memory() -> None:
    # 60,000 x 60,000 float32 values, 14 GB: building it with values would fail or swap.
    before = torch.get_rng_state()
    module = build_on_meta(
        lambda: nn.Sequential(*(nn.Linear(60_000, 60_000, bias=False) for _ in range(50)))
    )
    assert sum(p.numel() for p in module.parameters()) == 50 * 60_000**2
    assert torch.equal(torch.get_rng_state(), before)


def test_other_threads_are_not_affected() -> None:
    found = []

    def make() -> nn.Module:
        thread = threading.Thread(target=lambda: found.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        return nn.Linear(2, 2)

    assert build_on_meta(make).weight.is_meta
    assert not found[0].weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


def test_an_error_leaves_nothing_patched() -> None:
    def fail() -> nn.Module:
        raise ValueError("no such option")

    with pytest.raises(ValueError, match="no such option"):
        build_on_meta(fail)
    assert not nn.Linear(2, 2).weight.is_meta


def test_initialisation_is_seeded_and_leaves_the_callers_state() -> None:
    before = torch.get_rng_state()
    one, same, other = (build_initialised(lambda: nn.Linear(3, 3), seed) for seed in (0, 0, 1))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_assigning_copies_nothing_and_keeps_ties() -> None:
    source = Shared().state_dict()
    module = assign_state_dict(build_on_meta(Shared), source)
    assert module.a.weight.data_ptr() == source["b.weight"].data_ptr()
    assert module.a.weight is module.b.weight
    half = assign_state_dict(build_on_meta(Shared), source, dtype=torch.float16)
    assert half.a.weight.dtype == torch.float16
    assert half.a.weight is half.b.weight


def test_assigning_what_does_not_fit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="does not fit Shared"):
            assign_state_dict(build_on_meta(Shared), {"a.weight": torch.ones(4, 4)})
