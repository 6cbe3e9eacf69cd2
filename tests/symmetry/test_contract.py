"""What a spec says it holds for: sizes of inputs, and the one computation that was traced."""

import json
from collections.abc import Callable

import pytest
import torch
from sample_models import L
from torch import Tensor, nn

import zooalign
from zooalign.errors import DataError
from zooalign.schemas import load_schema
from zooalign.symmetry import extract_spec
from zooalign.symmetry.contract import InputForm
from zooalign.symmetry.spec_file import from_json, to_json


class Tokens(nn.Module):
    """Two layers on (batch, tokens, features), with a step between them."""

    def __init__(self, step: Callable[[Tensor], Tensor], outputs: int = 2) -> None:
        super().__init__()
        self.step = step
        self.i, self.o = nn.Linear(5, 4, bias=False), nn.Linear(4, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.o(self.step(self.i(x)).tanh())
        return y


def mixes(h: Tensor) -> Tensor:
    """For one token nothing; for more it mixes units with tokens."""
    return h.mT.reshape(h.shape)


def test_one_token_is_traced_as_several_too() -> None:
    for size in (1, 2, 3):
        assert extract_spec(Tokens(mixes), (torch.zeros(2, size, 5),)).log10_order in (
            [0.0] if size != 2 else [0.0, pytest.approx(L(2))]
        )
    spec = extract_spec(Tokens(lambda h: h), (torch.zeros(2, 1, 5),))
    assert spec.log10_order == pytest.approx(L(4))
    assert spec.contract is not None
    assert spec.contract.inputs == (InputForm((2, 1, 5), "float32", varies=(1,)),)
    assert spec.hash == extract_spec(Tokens(lambda h: h), (torch.zeros(2, 3, 5),)).hash


def test_a_size_that_the_module_does_not_take_is_said() -> None:
    net = Tokens(lambda h: h.reshape(-1, 4))  # takes any
    squeezed = Tokens(lambda h: h.reshape(1, 4))  # takes one row of one token
    assert extract_spec(net, (torch.zeros(1, 1, 5),)).contract.inputs[0].only == ()  # type: ignore[union-attr]
    spec = extract_spec(squeezed, (torch.zeros(1, 1, 5),))
    assert spec.contract is not None and spec.contract.inputs[0].only == (0, 1)
    assert any("only for one position" in line for line in spec.contract.lines())
    spec.contract.check((torch.zeros(1, 1, 5),))
    with pytest.raises(DataError, match="input 0 has 3 positions along axis 0"):
        spec.contract.check((torch.zeros(3, 1, 5),))


def test_axes_are_tried_by_themselves_where_not_all_vary() -> None:
    """The channel of grey images is one; the batch of one row is not."""

    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.o = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.o(self.c(x).relu().mean((2, 3)))
            return y

    spec = extract_spec(Grey(), (torch.zeros(1, 1, 9, 9),))
    assert spec.log10_order == pytest.approx(L(8))
    assert spec.contract is not None
    assert spec.contract.inputs == (InputForm((1, 1, 9, 9), "float32", varies=(0,), only=(1,)),)


def test_data_of_another_size_is_refused() -> None:
    torch.manual_seed(0)
    # Several rows are taken, and computed otherwise.
    one, other = (Tokens(lambda h: h.reshape(1, 4) if h.shape[0] == 1 else h) for _ in range(2))
    spec = extract_spec(one, (torch.zeros(1, 5),))
    assert spec.contract is not None and spec.contract.inputs[0].varies == (0,)
    strict = [Tokens(lambda h: h.reshape(1, 4)) for _ in range(2)]
    spec = extract_spec(strict[0], (torch.zeros(1, 5),))
    data = [torch.zeros(8, 5)]
    for method in ("activation", "weight"):
        with pytest.raises(DataError, match="positions along axis 0, and the spec"):
            zooalign.align(strict[1], to=strict[0], data=data, spec=spec, method=method)
    with pytest.raises(DataError, match="8 positions"):
        zooalign.match(spec, one, other, data=data, method="activation")


def test_the_file_has_the_contract_outside_the_hash() -> None:
    spec = extract_spec(Tokens(lambda h: h), (torch.zeros(2, 1, 5),))
    body = json.loads(to_json(spec))
    assert body["contract"] == {
        "mode": "eval",
        "calls": 1,
        "inputs": [{"shape": [2, 1, 5], "dtype": "float32", "varies": [1], "only": []}],
        "value_dependent": [],
    }
    assert from_json(json.dumps(body)) == spec
    del body["contract"]  # a file of an earlier version
    older = from_json(json.dumps(body))
    assert older.contract is None and older.hash == spec.hash
    assert older.checked([1]) == [1]


def test_a_branch_on_the_number_of_tokens_is_traced_on_both_ways() -> None:
    """What a single token skips is no symmetry of several."""
    numbered = Tokens(lambda h: h if h.shape[1] == 1 else h * torch.arange(4.0))
    assert extract_spec(numbered, (torch.zeros(2, 1, 5),)).log10_order == 0
    unread = Tokens(lambda h: h * torch.arange(4.0) if h.shape[1] == 1 else h)
    assert extract_spec(unread, (torch.zeros(2, 1, 5),)).log10_order == 0


def test_schemas_allow_files_without_a_contract() -> None:
    schema = load_schema("spec.file")["$defs"]["SpecFile"]
    assert "contract" in schema["properties"]
    assert "contract" not in schema["required"]
