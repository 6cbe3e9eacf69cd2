"""Operators without a rule of their own are taken apart, or stay whole and are named."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from operator_cases import INDEX, SIX, TWO_THREE, Between, OperatorCase, case
from sample_models import L
from sample_models.mutants import caught, mutants
from sample_models.small import Function
from torch import nn

from zooalign.graph.capture import capture
from zooalign.graph.decompose import decomposed
from zooalign.graph.execute import evaluate
from zooalign.graph.exported import writes
from zooalign.graph.registry import lookup
from zooalign.symmetry import Derived, derive_spec, verify
from zooalign.symmetry.extract import operator_rules

pytestmark = pytest.mark.slow

INPUTS = (torch.zeros(2, 5),)
CASES: list[OperatorCase] = [
    case("aten.hstack.default", lambda x, p: torch.hstack([x.softmax(1), x * p]), SIX, p=(6,)),
    case("aten.absolute.default", lambda x: x.absolute(), SIX),
    case("aten.less_equal.Scalar", lambda x: x * x.less_equal(0.1), SIX),
    case("aten.atleast_3d.default", lambda x: torch.atleast_3d(x), SIX),
    case("aten.tensordot.default", lambda x, p: torch.tensordot(x, p, 1), SIX + L(3), p=(6, 3)),
    case("aten.hsplit.int", lambda x: F.silu(torch.hsplit(x, 2)[0]) * torch.hsplit(x, 2)[1], L(3)),
    case(
        "aten.pairwise_distance.default",
        lambda x, p: F.pairwise_distance(x.view(-1, 2, 3), p),
        TWO_THREE,
        p=(2, 3),
    ),
    case("aten.take_along_dim.default", lambda x: x.take_along_dim(INDEX[None], 1) * x, 0),
    case(
        "aten.cross.default",
        lambda x, p: torch.cross(x.view(-1, 2, 3), p.expand(x.shape[0], -1, -1), dim=2),
        L(2),
        p=(2, 3),
    ),
    case("aten.msort.default", lambda x: torch.msort(x.t()).t().cumsum(1), SIX),
    case("aten.matrix_power.default", lambda x, w: x @ w.matrix_power(2), SIX, w=(6, 6)),
    # PyTorch writes the columns into an empty matrix, one after another.
    case("aten.vander.default", lambda x: torch.vander(x[0], 3).expand(x.shape[0], 6, 3), SIX),
    # Several results, of which the second is read.
    case("aten.aminmax.default", lambda x: x * x.aminmax(dim=1, keepdim=True)[1], SIX),
    case(
        "aten.narrow_copy.default",
        lambda x: torch.cat([x.narrow_copy(1, 0, 3).softmax(1), x], 1),
        2 * L(3),
    ),
]
NAMED = {case.operator: case for case in CASES}


@pytest.fixture(scope="module", params=NAMED)
def found(request: pytest.FixtureRequest) -> Iterator[tuple[OperatorCase, Between, Derived]]:
    torch.manual_seed(0)
    module = Between(NAMED[request.param])
    yield NAMED[request.param], module, derive_spec(module, INPUTS)


def test_no_rule_and_no_operator_unknown(found: tuple[OperatorCase, Between, Derived]) -> None:
    made, module, derived = found
    assert lookup(operator_rules(), made.operator) is None
    before = {str(node.target) for node in capture(module, INPUTS).graph.nodes}
    after = {str(node.target) for node in derived.traced.captured.graph.nodes}
    assert made.operator in before - after
    assert not any(writes(node) for node in derived.traced.captured.graph.nodes)
    assert not derived.spec.unknown_operators


def test_parts_compute_what_the_operator_did(found: tuple[OperatorCase, Between, Derived]) -> None:
    _, module, derived = found
    inputs = (torch.randn(2, 5, generator=torch.Generator().manual_seed(1)),)
    (made,) = evaluate(derived.traced.captured, module.state_dict(), inputs)
    torch.testing.assert_close(made, module(*inputs))


def test_order_is_the_true_one(found: tuple[OperatorCase, Between, Derived]) -> None:
    made, module, derived = found
    assert derived.spec.log10_order == pytest.approx(made.order, abs=1e-6)
    proof = verify(module, derived.spec, INPUTS, derived=derived)
    assert proof.ok, proof


def test_a_mistake_is_caught(found: tuple[OperatorCase, Between, Derived]) -> None:
    _, module, derived = found
    for what, wrong in mutants(derived.spec):
        assert caught(module, wrong, INPUTS, derived=derived), f"{what}: not caught"


def joined_layer() -> Function:
    return Function(lambda x: torch.hstack([x, x.tanh()]))


def test_parts_belong_to_the_layer_and_the_capture_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(5, 6), joined_layer())
    captured = capture(module, INPUTS)
    before = str(captured.graph)
    after = decomposed(captured, operator_rules())
    assert str(captured.graph) == before
    (joined,) = (node for node in after.graph.nodes if str(node.target) == "aten.cat.default")
    paths = [path for path, _ in joined.meta["nn_module_stack"].values()]
    assert paths[-1] == "1"
    assert decomposed(after, operator_rules()) is after


def test_an_operator_with_an_unknown_part_stays_whole_frozen_and_named() -> None:
    """The nuclear norm is made of singular values, which have no rule."""
    name = "aten.linalg_matrix_norm.str_ord"
    module = Between(case(name, lambda x: x * x.view(-1, 2, 3).norm("nuc", (1, 2))[:, None], 0))
    spec = derive_spec(module, INPUTS).spec
    assert list(spec.unknown_operators) == [name]
    assert not spec.groups


def test_with_a_rule_an_operator_stays_whole() -> None:
    captured = capture(nn.Sequential(nn.Linear(5, 6), joined_layer()), INPUTS)
    rules = {**operator_rules(), "aten.hstack": lambda op: op.freeze("position")}
    assert decomposed(captured, rules) is captured
