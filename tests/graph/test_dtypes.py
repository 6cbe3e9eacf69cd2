"""Models of several precisions: averaged in the widest, said, and never overflowing in silence."""

import pytest
import torch
from torch import nn

import zooalign
from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.dtypes import in_widest_dtypes, is_finite, rounded
from zooalign.merging.combine import combined

HALVES = {torch.float16, torch.bfloat16}


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.float32, torch.bfloat16), torch.float32),
        ((torch.float16, torch.float64, torch.float32), torch.float64),
        ((torch.float8_e4m3fn, torch.bfloat16), torch.float32),
    ],
)
def test_the_widest_holds_every_value(dtypes: tuple[torch.dtype, ...], common: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [{"w": torch.randn(64, generator=generator).to(d)} for d in dtypes]
    views = in_widest_dtypes(states)
    for state, view, dtype in zip(states, views, dtypes, strict=True):
        assert view["w"].dtype == common
        assert torch.equal(view["w"].to(dtype).float(), state["w"].float())
    average = combined(states, None)
    assert average.info("w").dtype == average["w"].dtype == common


def test_equal_dtypes_are_left() -> None:
    states = [{"w": torch.ones(2).half(), "n": torch.tensor(3)} for _ in range(2)]
    assert in_widest_dtypes(states) is states
    assert combined(states, None)["w"].dtype == torch.float16


def test_a_merge_says_it() -> None:
    torch.manual_seed(0)
    a, b = (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)) for _ in "ab")
    half = {name: tensor.bfloat16() for name, tensor in a.state_dict().items()}
    with pytest.warns(
        ZooalignWarning, match=r"4 tensors differ .*'0.weight' \(bfloat16, float32\)"
    ):
        merged = zooalign.merge(
            half, b, module=a, method="weight", example_inputs=torch.zeros(2, 4)
        )
    assert {tensor.dtype for tensor in merged.state_dict.values()} == {torch.float32}


def test_what_does_not_fit_is_an_error() -> None:
    states = [{"w": torch.full((2,), 60_000.0).half()}, {"w": torch.full((2,), -60_000.0).half()}]
    assert torch.equal(combined(states, None)["w"], torch.zeros(2).half())
    with pytest.raises(MergeError, match=r"'w' has values up to 1.8e\+05, which float16 does not"):
        combined(states, [2.0, -1.0])["w"]
    infinite = torch.tensor([float("inf")])
    assert rounded("mask", infinite, torch.float16).isinf().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(
    dtype: torch.dtype, value: float
) -> None:
    for place in (0, 3, (1 << 20) + 1):  # in a piece of its own too
        tensor = torch.ones((1 << 20) + 2).to(dtype)
        assert is_finite(tensor) and is_finite(tensor[:0])
        tensor[place] = torch.tensor(value).to(dtype)
        assert not is_finite(tensor)
