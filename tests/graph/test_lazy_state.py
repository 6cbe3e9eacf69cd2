"""Lazy state dicts: questions about names, shapes and dtypes read no tensor."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zooalign.graph.lazy_state import (
    CastLike,
    LazyState,
    LazyTensors,
    TensorInfo,
    float_state,
)
from zooalign.merging import LazyAverage
from zooalign.symmetry import Permuted
from zooalign.symmetry.groups import Block, Group, Member
from zooalign.symmetry.spec import PermutationSpec

TENSORS = {"weight": torch.arange(6.0).reshape(3, 2), "count": torch.tensor(4)}
SPEC = PermutationSpec(
    {name: tuple(tensor.shape) for name, tensor in TENSORS.items()},
    (Group("g", 3, (Member("weight", 0, (0,), (Block(0, 3, 0, 1),)),)),),
)


def unread(tensors: dict[str, Tensor] = TENSORS) -> LazyTensors:
    def read(name: str) -> Tensor:
        raise AssertionError(f"{name} was read")

    return LazyTensors({name: TensorInfo.of(tensor) for name, tensor in tensors.items()}, read)


@pytest.mark.parametrize(
    "make",
    [
        unread,
        lambda: Permuted(SPEC, SPEC.random(1), unread()),
        lambda: LazyAverage([unread(), unread()]),
        lambda: CastLike(unread(), unread()),
        lambda: unread().read_through(lambda name, tensor: tensor),
    ],
    ids=["tensors", "permuted", "average", "cast", "read-through"],
)
def test_names_shapes_and_dtypes_are_known_without_reading(make: Callable[[], LazyState]) -> None:
    state = make()
    assert isinstance(state, LazyState)
    assert list(state) == ["weight", "count"] and len(state) == 2
    assert "weight" in state and "bias" not in state
    assert state.info("weight") == TensorInfo((3, 2), torch.float32)
    assert state.nbytes == 6 * 4 + 8
    with pytest.raises(KeyError):
        state.info("bias")


def test_a_cast_says_the_dtype_that_it_gives() -> None:
    half = {name: tensor.half() for name, tensor in TENSORS.items()}
    cast = CastLike(TENSORS, half)
    assert cast.info("weight") == TensorInfo.of(cast["weight"])
    assert cast["weight"].dtype == torch.float16


def test_float_state_widens_what_is_narrow_and_keeps_the_rest() -> None:
    state = {
        "half": torch.ones(2, dtype=torch.bfloat16),
        "tiny": torch.ones(2).to(torch.float8_e5m2),
        "float": torch.ones(2),
        "double": torch.ones(2, dtype=torch.float64),
        "count": torch.tensor(3),
    }
    floats = float_state(state, "cpu")
    assert floats["half"].dtype == floats["tiny"].dtype == torch.float32
    assert all(floats[name] is state[name] for name in ("float", "double", "count"))
