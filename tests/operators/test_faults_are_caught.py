"""Rules that claim too much, as they once did: trying them on values alone finds each of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from operator_arguments import calls

from zooalign.graph.notation import names
from zooalign.graph.operator import Operator, Result
from zooalign.operators import elementwise, normalise, view
from zooalign.testing.rules import check

aten = torch.ops.aten


def first_alone(op: Operator) -> Result:
    """One operand decides, as if the others were numbers."""
    return elementwise.same(op, op.tensors()[0])


def ties_forgotten(op: Operator) -> Result:
    x = op["self"]
    dim = op["dim"] % x.ndim
    left = names(x.ndim, {dim: "[{}]"})
    right = [*left[:dim], "1" if op["keepdim"] else "", *left[dim + 1 :]]
    numbers = op.relate(f"{' '.join(left)} -> {' '.join(right).strip() or '*n'}", x)
    op.sets.register([*numbers.axes, x.axes[dim]])
    return type(numbers)(numbers.shape, numbers.axes, x.axes[dim])


def order_forgotten(op: Operator) -> Result:
    x = op["self"]
    dim = op["dim"] % x.ndim
    left = names(x.ndim, {dim: "[{}]"})
    right = " ".join([*left[:dim], "k!", *left[dim + 1 :]])
    return op.relate_all(f"{' '.join(left)} -> {right}, {right}", x)


def slopes_by_channel(op: Operator) -> Result:
    x, slope = op["self"], op["weight"]
    if slope.ndim != 1 or x.ndim < 2:
        return elementwise.same(op, x, slope)
    return op.relate("n c *s, c -> n c *s", x, slope)


def rows_of_storage(op: Operator) -> Result:
    """A view of storage as if it were a view of the tensor."""
    op.tensors()
    return op.moved(view.reshaped(op, op["self"], op.results[0]))


def value_for_all(op: Operator) -> Result:
    """Noise as if it were one number."""
    op.tensors()
    return op.moved([()] * len(op.results[0]))


FAULTS: dict[str, tuple[Any, Callable[[Operator], Result]]] = {
    "second operand of a shift": (aten.bitwise_left_shift.Tensor, first_alone),
    "matrix norm entry by entry": (aten.linalg_norm.default, normalise.reduce),
    "matrix norm by name": (aten.linalg_norm.ord_str, normalise.reduce),
    "ties": (aten.argmax.default, ties_forgotten),
    "order of unsorted results": (aten.topk.default, order_forgotten),
    "storage": (aten.as_strided.default, rows_of_storage),
    "dropout": (aten.native_dropout.default, elementwise.unary),
    "noise in the form of a constant": (aten.rand_like.default, value_for_all),
    "noise": (aten.bernoulli.default, elementwise.unary),
    "slopes": (aten._prelu_kernel.default, slopes_by_channel),
    "scale of a sum": (aten.addcmul.default, first_alone),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_that_claims_too_much_is_caught(name: str) -> None:
    overload, rule = FAULTS[name]
    tried = calls(overload, 60)
    assert any(check(call, rule, seed=seed).wrong for seed, call in enumerate(tried))
