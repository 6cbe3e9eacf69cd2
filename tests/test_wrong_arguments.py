"""Wrong arguments of the public functions are errors that name them."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zooalign
from zooalign.errors import ArgumentError, DataError, ZooalignError

sys.path.append(str(Path(__file__).parents[1] / "docs" / "benchmarks"))
import fuzz_arguments

# What needs no trace of a module: each call is a few milliseconds.
FUNCTIONS = ("match", "barrier", "apply_to_optimizer")
KINDS = ("None", "half", "NaN", "text", "list of None", "dict of numbers", "object", "tensor",
    "array", "module that fails", "texts as targets", "batches of other widths", "empty batch",
    "state dict of None", "other architecture")  # fmt: skip


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    return fuzz_arguments.right_arguments()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_raw_comes_out(function: str, right: dict[str, Any]) -> None:
    """A part of what the script tries."""
    call, arguments = right[function]
    wrong = fuzz_arguments.wrong_values()
    for argument in arguments:
        for kind in KINDS:
            given = {**arguments, argument: wrong[kind]}
            outcome, text = fuzz_arguments.outcome(lambda given=given: call(**given))  # type: ignore[misc]
            assert outcome in ("fine", "named"), f"{argument}={kind}: {text}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": 3}, r"align\(\) got method=3; it takes a text"),
        ({"seed": 0.5}, r"align\(\) got seed=0.5; it takes a whole number from 0"),
        ({"spec": "a"}, r"align\(\) got spec='a'; it takes a PermutationSpec, of extract_spec, or"),
        ({"data": "train"}, r"align\(\) got data='train'; it takes an iterable of batches"),
        ({"module": torch.zeros(2)}, r"got module=a Tensor; it takes a torch.nn.Module, a state"),
    ],
)
def test_it_is_named_with_what_it_takes(given: dict[str, Any], words: str) -> None:
    net = torch.nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match=words):
        zooalign.align(net, to=net, **given)
    assert issubclass(ArgumentError, (ZooalignError, TypeError))


def test_a_loss_that_fails() -> None:
    net = torch.nn.Linear(2, 2)
    data = [(torch.ones(4, 2), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(DataError, match=r"the loss 'len' fails on outputs \(Tensor\) and targets"):
        zooalign.barrier(net, net, data=data, alphas=2, loss=len)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Linear does not run on a batch with inputs of shape"):
        zooalign.barrier(net, net, data=[(torch.ones(4, 3), data[0][1])], alphas=2)
