"""Properties of averages of state dicts."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.merging import LazyAverage, average, interpolate

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, generator=generator).to(dtype)
    return {
        "weight": weight,
        "tied": weight,
        "scalar": torch.randn((), generator=generator).to(dtype),
        "empty": torch.zeros(0, dtype=dtype),
        "bn.num_batches_tracked": torch.tensor(seed),
    }


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a if "tracked" not in n)


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    alpha=st.floats(0, 1),
    dtype=st.sampled_from(DTYPES),
)
def test_ends_are_exact_dtype_is_kept_and_ties_stay(
    seeds: tuple[int, int], alpha: float, dtype: torch.dtype
) -> None:
    a, b = state(seeds[0], dtype), state(seeds[1], dtype)
    assert same(interpolate(a, b, 0.0), a)
    assert same(interpolate(a, b, 1.0), b)
    middle = interpolate(a, b, alpha)
    assert {n: t.dtype for n, t in middle.items()} == {n: t.dtype for n, t in a.items()}
    assert torch.equal(middle["tied"], middle["weight"])
    assert middle["bn.num_batches_tracked"] == seeds[0]
    exact = (1 - alpha) * a["weight"].double() + alpha * b["weight"].double()
    torch.testing.assert_close(middle["weight"], exact.to(dtype), rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
    dtype=st.sampled_from(DTYPES[1:]),
)
def test_equal_states_average_to_themselves(weights: list[float], dtype: torch.dtype) -> None:
    a = state(3, dtype)
    assert same(average([a] * len(weights), weights), a)


def test_average_of_three_with_weights() -> None:
    states = [state(seed) for seed in range(3)]
    found = average(states, [1, 2, 5])["weight"]
    wanted = sum(w / 8 * s["weight"].double() for w, s in zip((1, 2, 5), states, strict=True))
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=1e-7)
    equal = average(states)["weight"]
    torch.testing.assert_close(equal, torch.stack([s["weight"] for s in states]).mean(0))


def test_bf16_is_rounded_once() -> None:
    # In bf16 the sum 1 + 2^-8 rounds to 1, so that averaging there would give 1/3.
    parts = [1.0, 2.0**-8, 2.0**-8]
    states = [{"w": torch.tensor([value], dtype=torch.bfloat16)} for value in parts]
    wanted = torch.tensor([sum(parts) / 3]).to(torch.bfloat16)
    assert average(states)["w"] == wanted
    assert wanted != torch.tensor([1 / 3]).to(torch.bfloat16)


def test_inputs_are_not_changed_and_not_returned() -> None:
    a, b = state(0), state(1)
    before = {n: t.clone() for n, t in a.items()}
    for alpha in (0.0, 0.5):
        interpolate(a, b, alpha)["weight"].zero_()
    assert same(a, before)


def test_zero_weight_leaves_infinities_out() -> None:
    a, b = {"w": torch.ones(2)}, {"w": torch.full((2,), torch.inf)}
    assert torch.equal(interpolate(a, b, 0.0)["w"], a["w"])
    assert torch.isinf(interpolate(a, b, 0.1)["w"]).all()


class Counting(Mapping[str, Tensor]):
    """A lazy state dict that counts how often it is read."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors, self.reads = tensors, 0

    def __getitem__(self, name: str) -> Tensor:
        self.reads += 1
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors


def test_lazy_average_reads_a_tensor_when_asked() -> None:
    a, b = Counting(state(0)), Counting(state(1))
    merged = LazyAverage([a, b], [3, 1])
    assert list(merged) == list(a) and len(merged) == 5 and "weight" in merged
    assert merged.weights == (0.75, 0.25)
    assert (a.reads, b.reads) == (0, 0)
    assert torch.equal(merged["weight"], average([a.tensors, b.tensors], [3, 1])["weight"])
    assert (a.reads, b.reads) == (1, 1)


def test_a_missing_counter_is_no_mismatch() -> None:
    a, b = state(0), state(1)
    del b["bn.num_batches_tracked"]
    assert "bn.num_batches_tracked" in average([a, b])
    assert "bn.num_batches_tracked" not in average([b, a])


def test_mismatches_are_named() -> None:
    a = state(0)
    with pytest.raises(MergeError, match="model 1 lacks 'weight'"):
        LazyAverage([a, {n: t for n, t in a.items() if n != "weight"}])
    with pytest.raises(MergeError, match="model 1 alone has 'head' and 1 more"):
        LazyAverage([a, {**a, "head": a["weight"], "tail": a["weight"]}])
    with pytest.raises(MergeError, match=r"'weight' has shape \(2, 3\) in model 1 and \(4, 3\)"):
        average([a, {**a, "weight": a["weight"][:2]}])
    with pytest.raises(MergeError, match=r"'tied' is torch.float16 in model 1 and torch.float32"):
        average([a, {**a, "tied": a["tied"].half()}])


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 0.5], [float("nan"), 1.0]])
def test_unusable_weights(weights: list[float]) -> None:
    with pytest.raises(MergeError, match="weights"):
        average([state(0), state(1)], weights)


def test_nothing_to_average() -> None:
    with pytest.raises(MergeError, match="nothing to average"):
        average([])


def test_pieces_are_averaged_as_the_whole() -> None:
    """Large tensors are widened piece by piece; also those that lie in memory in another order."""
    torch.manual_seed(0)
    a, b = (torch.randn(1100, 1000).bfloat16().T for _ in range(2))
    made = average([{"w": a}, {"w": b}], [0.3, 0.7])["w"]
    assert torch.equal(made, (a.double() * 0.3 + b.double() * 0.7).bfloat16())
