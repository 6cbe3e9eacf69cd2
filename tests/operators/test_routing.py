"""Mixtures of experts: experts change places with the numbers that the router gives them."""

import pytest
import torch
from sample_models import L
from sample_models.routing import BEST, EXPERTS, UNITS, Mixture
from sample_models.small import Wrapped
from torch import nn

from zooalign.symmetry import derive_spec, verify

FREE = L(7) + L(EXPERTS) + EXPERTS * L(UNITS)
PINNED = L(7) + EXPERTS * L(UNITS)


@pytest.mark.parametrize(
    ("how", "order"),
    [
        ("one hot", FREE),
        ("scatter", FREE),
        ("gather", FREE),
        # Groups change places, and the experts in each of them.
        ("groups", L(7) + L(3) + 3 * L(EXPERTS // 3) + EXPERTS * L(UNITS)),
        # Sound, but not found: a table read by number.
        ("table", PINNED),
        ("numbers as values", PINNED),
        ("compared with a range", PINNED),
    ],
)
def test_order_of_a_mixture(how: str, order: float) -> None:
    torch.manual_seed(0)
    model = Mixture(how)
    inputs = (torch.randn(4, 3),)
    derived = derive_spec(model, inputs)
    assert not derived.spec.unknown_operators
    assert derived.spec.log10_order == pytest.approx(order)
    found = verify(model, derived.spec, inputs)
    assert found.ok, found


def test_numbers_that_go_out_are_pinned() -> None:
    router = Wrapped(nn.Linear(3, EXPERTS), lambda router, x: tuple(router(x).topk(BEST)))
    derived = derive_spec(router, (torch.randn(4, 3),))
    assert derived.spec.log10_order == 0
