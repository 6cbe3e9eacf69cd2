"""Combining state dicts: by hand, by filter and layer, and what is refused."""

import json

import pytest
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.merging.combine import Combination, CombinedState, combined
from zooalign.merging.interpolate import LazyAverage

Weights = dict[str, Tensor]


def states(count: int, dtype: torch.dtype = torch.float32) -> list[Weights]:
    generator = torch.Generator().manual_seed(0)
    names = ("embed.weight", "blocks.0.w", "blocks.1.w", "blocks.2.w", "head.bias")
    return [
        {name: torch.randn(4, 5, generator=generator).to(dtype) for name in names}
        for _ in range(count)
    ]


def merged(given: list[Weights], method: str, shared: dict, *each: dict, **how: object) -> Weights:
    base = how.pop("base", None if method == "linear" else 0)
    combination = Combination(method, base, shared, each or ({},) * len(given), **how)
    return dict(combined(given, Combination.from_json(combination.to_json())))


def test_linear_by_filter_and_layer() -> None:
    a, b = states(2)
    weight = [{"filter": "head", "value": 3.0}, {"value": [0.0, 1.0]}]
    result = merged([a, b], "linear", {}, {"weight": weight}, {"weight": 1})
    share = {"embed.weight": 0.0, "blocks.0.w": 0.0, "blocks.1.w": 0.5, "blocks.2.w": 1.0}
    for name, w in {**share, "head.bias": 3.0}.items():
        torch.testing.assert_close(result[name], (w * a[name] + b[name]) / (w + 1))
    free = merged([a, b], "linear", {"normalize": False, "weight": 2.0})
    torch.testing.assert_close(free["head.bias"], 2 * a["head.bias"] + 2 * b["head.bias"])


def test_equal_weights_are_the_average() -> None:
    given = states(3, torch.bfloat16)
    ours, plain = merged(given, "linear", {"weight": 1.0}), dict(LazyAverage(given))
    assert all(ours[name].dtype == torch.bfloat16 for name in ours)
    for name in ours:  # to one rounding of bfloat16: sums are of float32, and of float64
        torch.testing.assert_close(ours[name], plain[name], rtol=2**-7, atol=1e-6)


def test_slerp_keeps_the_angle() -> None:
    a, b = ({n: x / x.norm() for n, x in state.items()} for state in states(2))
    for t in (0.0, 0.25, 1.0):
        result = merged([a, b], "slerp", {"t": t})
        for name, tensor in result.items():
            first, second, between = (x.double().flatten() for x in (a[name], b[name], tensor))
            wanted = torch.cos(t * torch.acos(first @ second))
            torch.testing.assert_close(first @ between, wanted, rtol=0, atol=1e-6)
            torch.testing.assert_close(between.norm(), first.norm(), rtol=0, atol=1e-6)
    parallel = merged([a, {n: 3 * x for n, x in a.items()}], "slerp", {"t": 0.5})
    torch.testing.assert_close(parallel["head.bias"], 2 * a["head.bias"])


def test_task_arithmetic() -> None:
    base, a, b = states(3)
    result = merged(
        [base, a, b], "task_arithmetic", {"lambda": 0.5}, {}, {"weight": 1}, {"weight": 2}
    )
    for name, x in base.items():
        torch.testing.assert_close(result[name], x + 0.5 * (a[name] - x + 2 * (b[name] - x)))


def test_ties_elects_signs() -> None:
    zero = {"w": torch.zeros(5)}
    a, b = {"w": torch.tensor([4.0, -1, 2, 0.1, 3])}, {"w": torch.tensor([2.0, 3, -1, 0.2, -3.5])}
    each = ({}, {"weight": 1.0, "density": 0.8}, {"weight": 1.0})
    # 0.1 is cut from the first; where signs differ the larger sum counts alone.
    result = merged([zero, a, b], "ties", {}, *each)
    torch.testing.assert_close(result["w"], torch.tensor([3.0, 3, 2, 0.2, -3.5]))


def test_dare_draws_the_same_in_any_order() -> None:
    given = states(3)
    shared = {"weight": 1.0, "density": 0.5}
    one = merged(given, "dare_ties", shared, seed=3)
    how = Combination("dare_ties", 0, shared, ({},) * 3, 3)
    backwards = CombinedState(given, how)
    assert all(torch.equal(backwards[name], one[name]) for name in reversed(list(one)))
    other = merged(given, "dare_ties", shared, seed=4)
    assert not torch.equal(one["head.bias"], other["head.bias"])
    whole = merged(given, "dare_ties", {"weight": 1.0, "density": 1.0})
    ties = merged(given, "ties", {"weight": 1.0, "normalize": False})
    assert all(torch.allclose(whole[name], ties[name]) for name in ties)


@pytest.mark.parametrize(
    ("method", "base", "shared", "each", "says"),
    [
        ("tise", 0, {}, ({}, {}), "no way to combine models is named 'tise'"),
        ("ties", None, {"weight": 1}, ({}, {}), "needs a base model"),
        ("slerp", 0, {"t": 0.5}, ({}, {}, {}), "between two models"),
        ("linear", None, {"density": 0.5}, ({}, {}), "no parameter 'density'"),
        ("linear", None, {}, ({}, {}), "has no weight"),
        ("linear", None, {"weight": "much"}, ({}, {}), "takes a number"),
        ("linear", None, {}, ({"weight": 1}, {"weight": -1}), "cannot be normalised"),
        ("dare_ties", 0, {"weight": 1, "density": 2}, ({}, {}), "share from 0 to 1"),
    ],
)
def test_refused(method: str, base: int | None, shared: dict, each: tuple, says: str) -> None:
    with pytest.raises(MergeError, match=says):
        dict(CombinedState(states(len(each)), Combination(method, base, shared, each)))


def test_a_record_may_come_from_anybody() -> None:
    for text in ("", "[]", '{"models": 3}', json.dumps({"method": "ties", "models": [], "x": 1})):
        with pytest.raises(MergeError):
            Combination.from_json(text)
