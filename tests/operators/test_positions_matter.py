"""Networks in which an operator tells units apart that look alike: none of them may be moved."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sample_models import L
from sample_models.generators import WRONG, worst_generator
from sample_models.small import Weights
from torch import Tensor

from zooalign.graph.operator import Operator, Result
from zooalign.symmetry import derive_spec
from zooalign.symmetry.extract import operator_rules

ROWS = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
ZEROS = torch.tensor([0.0, -0.0, 0.0, -0.0])


def _spectral(order: object, **options: object) -> Callable[..., Tensor]:
    return lambda x, w: x * torch.linalg.norm(w, order, **options)


def _storage(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    return x.sum(1, keepdim=True) * (w.t().as_strided((4, 6), (6, 1)) + v.t()).tanh().sum()


def _overlapping(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    return x.sum(1, keepdim=True) * (w.as_strided((5, 4), (4, 1)) + v).tanh().sum()


def _shifted(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    counts = F.linear(x, v).abs().long() % 8
    return torch.bitwise_left_shift((F.linear(x, w) * 8).long(), counts).to(x.dtype).sum(-1)


def _of_noise(drawn: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Four hidden units that read noise, as much of it as there are rows."""

    def function(x: Tensor, w: Tensor, o: Tensor) -> Tensor:
        noise = drawn(x.new_full((x.shape[0], 4), 0.5))
        return F.linear(F.linear(noise, w).tanh(), o) * x[:, :2]

    return function


NOISE: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda ones: F.dropout(ones, 0.5, True),
    "alpha dropout": lambda ones: F.alpha_dropout(ones, 0.5, True),
    "dropout of features": lambda ones: F.dropout1d(ones[..., None], 0.5, True)[..., 0],
    "rand like": torch.rand_like,
    "randn like": torch.randn_like,
    "randint like": lambda ones: torch.randint_like(ones, 9),
    "bernoulli": torch.bernoulli,
    "bernoulli with one chance": lambda ones: torch.bernoulli(ones, 0.5),
    "normal": lambda ones: torch.normal(ones, 1.0),
    "poisson": torch.poisson,
    "rrelu": lambda ones: F.rrelu(-ones, training=True),
    "uniform in place": lambda ones: (ones * 1).uniform_(),
    "exponential in place": lambda ones: (ones * 1).exponential_(),
    "normal in memory that is new": lambda ones: torch.empty_like(ones).normal_(),
    "multinomial": lambda ones: torch.multinomial(ones, 4).to(ones.dtype),
}


def _routed(
    scored: Callable[..., Tensor], best: int = 2, reads: Callable[[Tensor], Tensor] | None = None
) -> Callable[..., Tensor]:
    """What the best of six experts answer; the experts' weights come last."""

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        *routing, v = weights
        chosen = scored(x, *routing).topk(best, -1, sorted=reads is None)[1]
        answers = F.linear(x, v).gather(-1, chosen)
        return answers if reads is None else reads(answers)

    return function


def _of_groups(scores: Tensor, value: float, groups: int = 1) -> Tensor:
    """Scores of the experts of the best of three groups; the others have all one score."""
    best = scores.view(-1, 3, 2).amax(-1).topk(groups, -1)[1]
    kept = scores.new_zeros(len(scores), 3).scatter(1, best, 1.0).bool()
    return scores.masked_fill(~kept[..., None].expand(-1, 3, 2).reshape(-1, 6), value)


def _last_written(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    best = F.linear(x, w).topk(1, -1)[1].expand(-1, 4)
    return torch.zeros(len(x), 6, dtype=x.dtype).scatter(1, best, F.linear(x, v)).sum(-1)


_EXPERTS = [(6, 5), (6, 5)]
_IN_GROUPS = L(3) + 3 * L(2)
ROUTERS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], float]] = {
    "scores": (_routed(F.linear), _EXPERTS, L(6)),
    "shares": (_routed(lambda x, w: F.linear(x, w).softmax(-1)), _EXPERTS, L(6)),
    "scores and preferences": (
        _routed(lambda x, w, b: F.linear(x, w).sigmoid() + b),
        [(6, 5), (6,), (6, 5)],
        L(6),
    ),
    "scores of hidden units": (
        _routed(lambda x, u, w: F.linear(F.silu(F.linear(x, u)), w)),
        [(3, 5), (6, 3), (6, 5)],
        L(3) + L(6),
    ),
    # Ties.
    "ties of a ReLU": (_routed(lambda x, w: F.linear(x, w).relu()), _EXPERTS, 0),
    "ties of a dead layer": (
        _routed(lambda x, u, w: F.linear(F.relu(F.linear(x, u)), w)),
        [(3, 5), (6, 3), (6, 5)],
        L(3),
    ),
    "no ties after a bias": (
        _routed(lambda x, u, w, b: F.linear(F.relu(F.linear(x, u)), w, b)),
        [(3, 5), (6, 3), (6,), (6, 5)],
        L(3) + L(6),
    ),
    "ties of rounding": (_routed(lambda x, w: F.linear(x, w).round()), _EXPERTS, 0),
    "ties of integers": (_routed(lambda x, w: F.linear(x, w).long()), _EXPERTS, 0),
    "ties of a bound": (_routed(lambda x, w: F.linear(x, w).clamp(-1, 1)), _EXPERTS, 0),
    "ties of a comparison": (_routed(lambda x, w: (F.linear(x, w) > 0).to(x.dtype)), _EXPERTS, 0),
    "ties of a difference": (_routed(lambda x, w: F.linear(x, w) - F.linear(x, w)), _EXPERTS, 0),
    "ties of a squashed product": (
        _routed(lambda x, w: F.linear(x, w) * x[:, :1].relu()),
        _EXPERTS,
        0,
    ),
    "ties of a mask by value": (
        _routed(lambda x, w: F.linear(x, w).masked_fill(x[:, :1] > 0, -torch.inf)),
        _EXPERTS,
        0,
    ),
    "a mask that leaves enough": (
        _routed(lambda x, w: _of_groups(F.linear(x, w), -torch.inf)),
        _EXPERTS,
        _IN_GROUPS,
    ),
    "a mask that leaves too few": (
        _routed(lambda x, w: _of_groups(F.linear(x, w), -torch.inf), best=3),
        _EXPERTS,
        0,
    ),
    "a mask of zeros among positive scores": (
        _routed(lambda x, w: _of_groups(F.linear(x, w).sigmoid(), 0.0)),
        _EXPERTS,
        _IN_GROUPS,
    ),
    "a mask of zeros among all scores": (
        _routed(lambda x, w: _of_groups(F.linear(x, w), 0.0)),
        _EXPERTS,
        0,
    ),
    "ties of one best": (
        lambda x, w, v: F.linear(x, v).gather(-1, F.linear(x, w).relu().argmax(-1, True)),
        _EXPERTS,
        0,
    ),
    "one best": (
        lambda x, w, v: F.linear(x, v).gather(-1, F.linear(x, w).argmin(-1, True)),
        _EXPERTS,
        L(6),
    ),
    # Order.
    "no order, summed": (_routed(F.linear, reads=lambda y: y.tanh().sum(-1)), _EXPERTS, L(6)),
    "no order, read": (_routed(F.linear, reads=lambda y: y), _EXPERTS, 0),
    "no order, weighted": (
        lambda x, w, r: F.linear(x, w).topk(4, -1, sorted=False)[0] @ r,
        [(8, 5), (4,)],
        0,
    ),
    "no order, running sum": (
        _routed(F.linear, reads=lambda y: y.cumsum(-1).exp().sum(-1)),
        _EXPERTS,
        0,
    ),
    "several written to one place": (_last_written, [(6, 5), (4, 5)], L(6)),
}

# By name: the function, shapes of its parameters, and log10 of the order.
APART: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], float]] = {
    # All rows at once and all columns at once: no entry by itself.
    "largest singular value": (_spectral(2), [(3, 4)], L(3) + L(4)),
    "smallest singular value": (_spectral(-2), [(3, 4)], L(3) + L(4)),
    "nuclear norm": (_spectral("nuc"), [(3, 4)], L(3) + L(4)),
    "largest sum of a column": (_spectral(1), [(3, 4)], L(3) + L(4)),
    "largest sum of a row": (_spectral(float("inf")), [(3, 4)], L(3) + L(4)),
    "sum of squares": (_spectral("fro"), [(3, 4)], L(12)),
    "norm of two axes": (_spectral(2, dim=(1, 0)), [(3, 4)], L(3) + L(4)),
    "norms of vectors": (_spectral(1, dim=1), [(5, 4)], 5 * L(4)),
    "storage of a view": (_storage, [(6, 4), (6, 4)], 0),
    "rows that overlap": (_overlapping, [(6, 4), (5, 4)], 0),
    "shift by another tensor": (_shifted, [(4, 5), (4, 5)], L(4)),
    "sign of zeros": (
        lambda x, w, o: F.linear(torch.copysign(F.linear(x, w), ZEROS), o),
        [(4, 5), (2, 4)],
        0,
    ),
    "division by zeros": (
        lambda x, w, o: F.linear((F.linear(x, w) / ZEROS).clamp(-1, 1), o),
        [(4, 5), (2, 4)],
        0,
    ),
    **{f"router: {name}": case for name, case in ROUTERS.items()},
    **{
        f"noise: {name}": (_of_noise(drawn), [(3, 4), (2, 3)], L(3))
        for name, drawn in NOISE.items()
    },
}


@pytest.mark.parametrize("name", APART)
def test_units_that_an_operator_tells_apart_stay(name: str) -> None:
    function, shapes, order = APART[name]
    module = Weights(function, *shapes)
    spec = derive_spec(module, (ROWS[:3],)).spec
    change, generator = worst_generator(module, spec, (ROWS,))
    assert change < WRONG, generator
    assert spec.log10_order == pytest.approx(order, abs=1e-6)


class TestRulesThatDoNotFit:
    """A rule with a fault freezes what it touches, and says so."""

    def spec_with(self, rule: Callable[[Operator], Result]):
        module = Weights(lambda x, w, v, o: F.linear(F.linear(x, w) * v, o), (4, 5), (4,), (2, 4))
        rules = {**operator_rules(), "aten.mul": rule}
        return derive_spec(module, (ROWS[:3],), rules=rules).spec

    def reasons(self, rule: Callable[[Operator], Result]) -> str:
        spec = self.spec_with(rule)
        assert not spec.groups
        assert spec.unknown_operators == {"aten.mul.Tensor": 1}
        return "\n".join(frozen.reason for frozen in spec.frozen)

    def test_rule_that_leaves_a_tensor_unread(self) -> None:
        reasons = self.reasons(lambda op: op.tensor(op["self"].axes))
        assert "of aten.mul.Tensor does not look at other" in reasons

    def test_rule_that_raises(self) -> None:
        def dividing(op: Operator) -> Result:
            raise ZeroDivisionError("no rows")

        reasons = self.reasons(dividing)
        assert "dividing' of aten.mul.Tensor does not cover this use" in reasons
        assert "ZeroDivisionError: no rows" in reasons

    def test_rule_whose_result_has_other_sizes(self) -> None:
        def turned(op: Operator) -> Result:
            op.tensors()
            return op.tensor(op["self"].axes[::-1])

        assert "gives result 0 sizes that it does not have" in self.reasons(turned)

    def test_rule_with_more_results_than_the_operator(self) -> None:
        def twice(op: Operator) -> Result:
            op.tensors()
            return [op["self"], op["self"]]

        assert "gives result 1 sizes" in self.reasons(twice)
