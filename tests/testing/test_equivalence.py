"""``assert_equivalent``: what passes, what fails, and what the failure says."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from sample_models.small import Wrapped
from torch import Tensor, nn

from zooalign.errors import DataError, ZooalignError
from zooalign.testing import assert_equivalent
from zooalign.testing.equivalence import default_rtol
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model


@dataclass
class Result:
    logits: Tensor
    hidden: tuple[Tensor, ...]


class Net(nn.Module):
    """Two layers, nested outputs, dropout and batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, scale: float = 1.0) -> Result:
        x.mul_(scale)  # in place, on a copy of the inputs
        hidden = self.drop(self.norm(self.a(x)).relu())
        return Result(self.b(hidden), (hidden, hidden.argmax(1)))


def permuted(net: Net) -> Net:
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    other = copy.deepcopy(net)
    other.a.weight.data, other.a.bias.data = net.a.weight[order], net.a.bias[order]
    other.b.weight.data = net.b.weight[:, order]
    return other


def logits(net: Net) -> Wrapped:
    return Wrapped(net, lambda net, x: OrderedDict(logits=net(x).logits))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(2))


def test_the_same_model(net, x) -> None:
    assert assert_equivalent(net, copy.deepcopy(net), x) == 0
    assert assert_equivalent(net, net.state_dict(), (x, 2.0)) == 0
    assert assert_equivalent(net, net, {"x": x, "scale": 0.5}) == 0
    assert net.training and net.drop.training


def test_permutation_passes_where_the_function_is_the_same(net, x) -> None:
    other = permuted(net)
    assert assert_equivalent(logits(net), logits(other), x) < 1e-6
    with pytest.raises(AssertionError, match=r"output\.hidden\[0\] .* max rel error"):
        assert_equivalent(net, other, x)


def test_state_dict(net, x) -> None:
    state = {f"net.{k}": v for k, v in permuted(net).state_dict().items()}
    assert assert_equivalent(logits(net), state, x) < 1e-6
    state["net.b.bias"] = state["net.b.bias"] + 1e-3
    with pytest.raises(AssertionError, match=r"output\['logits'\] of shape \(5, 3\)"):
        assert_equivalent(logits(net), state, x)
    del state["net.b.bias"]
    with pytest.raises(AssertionError, match=r"lacks \['net.b.bias'\]"):
        assert_equivalent(logits(net), state, x)
    assert_equivalent(logits(net), logits(net), x)  # the module itself is as it was


def test_the_message_has_the_numbers(x) -> None:
    a = nn.Linear(4, 2)
    b = copy.deepcopy(a)
    b.weight.data.zero_()
    a.weight.data.zero_()
    a.bias.data = torch.tensor([2.0, 4.0])
    b.bias.data = torch.tensor([2.0, 3.0])
    with pytest.raises(AssertionError, match=r"abs error 1, max rel error 0.25 .* 5 of 10"):
        assert_equivalent(a, b, x)
    assert assert_equivalent(a, b, x, rtol=0.25) == 0.25


def test_tolerance_follows_the_lowest_precision() -> None:
    tensors = {d: torch.zeros(1, dtype=d) for d in (torch.float64, torch.float32, torch.bfloat16)}
    each = [default_rtol([t]) for t in tensors.values()]
    assert each == sorted(each) and each[0] < 1e-10 and each[1] < 1e-4 and each[2] < 0.05
    assert default_rtol(tensors.values()) == each[2]
    assert default_rtol([torch.zeros(1, dtype=torch.int64)]) == each[0]


def test_other_precision(net, x) -> None:
    half = copy.deepcopy(net).to(torch.bfloat16)
    assert 0 < assert_equivalent(logits(net), logits(half), x) < 0.04
    with pytest.raises(AssertionError):
        assert_equivalent(logits(net), logits(half), x, rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_finite_to_compare(x, value) -> None:
    a = nn.Linear(4, 2)
    b = copy.deepcopy(a)
    b.bias.data[0] = value
    with pytest.raises(AssertionError, match=r"NaN|infinities"):
        assert_equivalent(a, b, x)
    a.bias.data[0] = value
    if value == float("inf"):
        assert assert_equivalent(a, b, x) == 0
    else:
        with pytest.raises(AssertionError, match="NaN"):
            assert_equivalent(a, b, x)


def test_structure(net, x) -> None:
    with pytest.raises(AssertionError, match="structure"):
        assert_equivalent(net, logits(net), x)
    with pytest.raises(AssertionError, match="against"):
        assert_equivalent(nn.Linear(4, 2), nn.Linear(4, 3), x)


def test_inputs_of_timm_and_none(net) -> None:
    model = timm.create_model("test_resnet")
    assert assert_equivalent(model, copy.deepcopy(model)) == 0
    with pytest.raises(DataError, match="pass inputs"):
        assert_equivalent(net, net)


def test_transformers_output() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, vocab_size=16, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    other = copy.deepcopy(model)
    inputs = {"input_ids": torch.arange(8)[None]}
    assert assert_equivalent(model, other, inputs) == 0
    other.transformer.wpe.weight.data[3, 0] += 1
    with pytest.raises(AssertionError, match=r"output\['logits'\]"):
        assert_equivalent(model, other, inputs)
    assert assert_equivalent(model, model.state_dict(), inputs) == 0


def test_models_by_name(tmp_path: Path) -> None:
    """Directories and references, with the inputs their library knows."""
    opened = open_model("timm:test_vit?num_classes=3&img_size=32&depth=1")
    folders = [
        write_model(
            tmp_path / f"seed{seed}", opened.state_dict(seed), config_files=opened.config_files()
        )
        for seed in (0, 1)
    ]
    assert assert_equivalent(str(folders[0]), folders[0]) == 0.0
    assert assert_equivalent(folders[0], opened.state_dict(0)) == 0.0
    with pytest.raises(AssertionError, match="max rel error") as caught:
        assert_equivalent(folders[0], folders[1])
    assert caught.traceback[-1].frame.code.name != "test_models_by_name"
    with pytest.raises(ZooalignError, match="no such directory"):
        assert_equivalent(str(tmp_path / "none"), folders[0])
