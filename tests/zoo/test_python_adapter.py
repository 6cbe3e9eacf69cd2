"""One's own models: py:module:callable."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zooalign.errors import ModelReferenceError
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

CODE = """
import torch
from torch import nn
from zooalign.zoo.images import to_unit_range

def net(width=8, fail=False):
    if fail:
        raise ValueError("asked to fail")
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 2))

def tokens():
    return nn.Sequential(nn.Embedding(59, 4), nn.Flatten(), nn.Linear(8, 3))

tokens.example_inputs = lambda batch_size: torch.randint(0, 59, (batch_size, 2))
tokens.preprocess = to_unit_range(1).normalised_by((0.5,), (0.5,))

class Space:
    @staticmethod
    def make():
        return nn.Linear(1, 1)

def number():
    return 3

constant = 4
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory; its name is new in every test."""
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return name


def test_builds_with_options(module: str) -> None:
    model = open_model(f"py:{module}:net?width=5&input=3x2x2")
    assert [tuple(p.shape) for p in model.build().parameters()] == [(5, 12), (5,), (2, 5), (2,)]
    assert all(p.is_meta for p in model.build().parameters())
    (inputs,) = model.example_inputs(4)
    assert inputs.shape == (4, 3, 2, 2)
    one, two, other = (model.module(seed=seed)(inputs) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert model.source == {"kind": "py", "reference": f"py:{module}:net?input=3x2x2&width=5"}
    assert open_model(f"py:{module}:Space.make").build().in_features == 1


def test_own_inputs_and_preprocessing(module: str) -> None:
    model = open_model(f"py:{module}:tokens")
    (inputs,) = model.example_inputs(4)
    assert inputs.shape == (4, 2) and inputs.dtype == torch.int64
    assert torch.equal(inputs, model.example_inputs(4)[0])
    assert model.module()(inputs).shape == (4, 3)
    found = model.adapter.preprocess(model.architecture)(np.full((5, 5), 255, dtype=np.uint8))
    assert torch.equal(found, torch.ones(1, 5, 5))


def test_several_inputs_and_image_size(module: str) -> None:
    model = open_model(f'py:{module}:net?input=["3x2x2","7"]')
    assert [tuple(x.shape) for x in model.example_inputs(2)] == [(2, 3, 2, 2), (2, 7)]
    found = model.adapter.preprocess(model.architecture)(np.full((9, 7, 3), 255, dtype=np.uint8))
    assert torch.equal(found, torch.ones(3, 2, 2))


def test_a_directory_needs_its_architecture_named(module: str, tmp_path: Path) -> None:
    text = f"py:{module}:net?input=3x2x2"
    model = open_model(text)
    out = write_model(tmp_path / "out", model.state_dict(), config_files=model.config_files())
    with pytest.raises(ModelReferenceError, match=f"built by '{text.replace('?', chr(92) + '?')}'"):
        open_model(str(out))
    again = open_model(str(out), model=text)
    (inputs,) = again.example_inputs(3)
    assert torch.equal(again.module()(inputs), model.module()(inputs))
    with pytest.raises(ModelReferenceError, match="no library that loads a directory"):
        again.adapter.load(out)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("missing", "has no 'missing'"),
        ("constant", "is not callable"),
        ("number", "returned int, not an nn.Module"),
        ("net?fail=true", "failed: ValueError: asked to fail"),
        ("net?widht=3", "did you mean width="),
        ("net?input=3xx2", "'3xx2' is not a shape"),
        ("net?input=0", "'0' is not a shape"),
    ],
)
def test_refused(module: str, call: str, says: str) -> None:
    with pytest.raises(ModelReferenceError, match=says):
        open_model(f"py:{module}:{call}").build()


def test_inputs_of_unknown_size(module: str) -> None:
    with pytest.raises(ModelReferenceError, match=r"add \?input=3x32x32, or define example_inputs"):
        open_model(f"py:{module}:net").example_inputs()


def test_missing_and_broken_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_module_of_a_test.py").write_text("1 / 0")
    with pytest.raises(ModelReferenceError, match="No module named 'no_such_module'"):
        open_model("py:no_such_module:net")
    with pytest.raises(ModelReferenceError, match="failed: ZeroDivisionError"):
        open_model("py:broken_module_of_a_test:net")
