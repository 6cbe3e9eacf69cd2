"""A checkpoint under an architecture's keys."""

import pytest
import torch
from sample_models.small import TiedEmbedding
from torch import Tensor, nn

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.zoo.building import assign_state_dict, build_on_meta, state_dict_for


def tied() -> TiedEmbedding:
    return TiedEmbedding(5, 3, normed=True)


def lazy(tensors: dict[str, Tensor]) -> LazyTensors:
    infos = {key: TensorInfo(tuple(t.shape), t.dtype) for key, t in tensors.items()}
    return LazyTensors(infos, tensors.__getitem__)


def stored() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: tensor.clone() for key, tensor in tied().state_dict().items()}


def test_order_is_the_modules() -> None:
    tensors = stored()
    shuffled = dict(sorted(tensors.items(), reverse=True))
    assert list(state_dict_for(tied(), lazy(shuffled))) == list(tied().state_dict())


@pytest.mark.parametrize("missing", ["embed.weight", "head.weight"])
def test_a_tie_stored_once(missing: str) -> None:
    tensors = stored()
    del tensors[missing]
    found = state_dict_for(build_on_meta(tied), lazy(tensors))
    assert torch.equal(found["embed.weight"], found["head.weight"])
    module = assign_state_dict(build_on_meta(tied), found)
    assert module.embed.weight is module.head.weight


def test_ties_with_different_values_are_refused() -> None:
    tensors = stored()
    tensors["head.weight"] = tensors["head.weight"] + 1
    with pytest.raises(CheckpointError, match=r"tied.*embed\.weight and head\.weight"):
        state_dict_for(tied(), lazy(tensors))


def test_missing_counter_is_zero() -> None:
    tensors = stored()
    del tensors["norm.num_batches_tracked"]
    found = state_dict_for(tied(), lazy(tensors))
    assert found["norm.num_batches_tracked"].dtype == torch.int64
    assert found["norm.num_batches_tracked"] == 0


def test_all_problems_in_one_error() -> None:
    tensors = stored()
    del tensors["norm.bias"]
    tensors["extra"] = torch.ones(1)
    tensors["norm.weight"] = torch.ones(4)
    with pytest.raises(CheckpointError) as caught:
        state_dict_for(tied(), lazy(tensors), where="a/b")
    assert str(caught.value) == (
        "a/b does not fit TiedEmbedding: 1 missing: norm.bias; 1 unexpected: extra; "
        "1 of another shape: norm.weight (4,) instead of (3,)"
    )


def test_long_lists_are_cut() -> None:
    with pytest.raises(CheckpointError, match="7 unexpected: x0, x1, x2, x3, x4 and 2 more"):
        state_dict_for(tied(), lazy({**stored(), **{f"x{i}": torch.ones(1) for i in range(7)}}))


def test_a_saved_buffer_that_is_computed_now_is_left_out() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.register_buffer("ids", torch.arange(4), persistent=False)

    module = Positions()
    old = {**module.state_dict(), "ids": torch.arange(4)}
    assert list(state_dict_for(module, lazy(old))) == ["linear.weight", "linear.bias"]
    with pytest.raises(CheckpointError, match="1 unexpected: other"):
        state_dict_for(module, lazy({**old, "other": torch.zeros(1)}))


def test_names_behind_a_prefix_are_said_to_be() -> None:
    """A loss beside the network, or two networks in one state dict."""
    tensors = {f"student.{key}": tensor for key, tensor in stored().items()}
    state = lazy(tensors | {"loss.weight": torch.ones(2)})
    with pytest.raises(
        CheckpointError, match=r"behind 'student\.' .*; name it \(\?state=student\)"
    ):
        state_dict_for(tied(), state, where="./run.ckpt")
    with pytest.raises(CheckpointError, match=r"behind 'student\.' are all that are missing$"):
        state_dict_for(tied(), state, where="./run.safetensors")
