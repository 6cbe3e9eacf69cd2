"""Cross-statistics are values that add."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zooalign.errors import DataError, MergeError
from zooalign.matching import Moments, collect, match, match_statistics
from zooalign.symmetry import extract_spec


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    ).eval()


@given(st.integers(2, 40), st.integers(1, 39), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_moments_of_parts_add_to_those_of_the_whole(samples: int, cut: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 4, samples, generator=generator) * 3 + 1
    cut = min(cut, samples - 1)
    whole = Moments.of(a, b)
    parts = Moments.of(a[:, :cut], b[:, :cut]) + Moments.of(a[:, cut:], b[:, cut:])
    assert parts.count == whole.count == samples
    torch.testing.assert_close(parts.cross, whole.cross)
    torch.testing.assert_close(parts.covariance(), whole.covariance())
    expected = torch.corrcoef(torch.cat([a, b]).double())[:4, 4:]
    torch.testing.assert_close(whole.correlation(), expected)


def test_a_constant_unit_correlates_with_nothing() -> None:
    a = torch.randn(2, 50)
    a[0] = 3.7
    assert torch.equal(Moments.of(a, a).correlation()[0], torch.zeros(2, dtype=torch.float64))


def test_halves_of_the_data_give_the_same_permutation_as_all_of_it() -> None:
    torch.manual_seed(0)
    a, b = _network(), _network()
    data = [torch.randn(16, 3, 8, 8) for _ in range(4)]
    spec = extract_spec(a, (data[0],))
    states = (a.state_dict(), b.state_dict())
    halves = [collect(spec, *states, module=a, data=part) for part in (data[:2], data[2:])]
    found = match_statistics(spec, halves[0] + halves[1])
    whole = match(spec, a, b, method="activation", data=data)
    assert found.permutation == whole.permutation
    assert found.details["samples"] == 64
    assert found.objective_after == pytest.approx(whole.objective_after, abs=1e-12)


def test_batches_of_other_sizes_are_read_and_an_iterator_is_enough_for_one_pass() -> None:
    torch.manual_seed(0)
    a, b = _network(), _network()
    data = [torch.randn(16, 3, 8, 8), torch.randn(5, 3, 8, 8)]
    spec = extract_spec(a, (data[0],))
    found = match(spec, a, b, data=iter(data))
    assert found.details["samples"] == 21
    assert found.permutation == match(spec, a, b, data=data).permutation


def test_gradients_are_left_on_and_models_are_left_alone() -> None:
    torch.manual_seed(0)
    a, b = _network().train(), _network()
    before = {k: t.clone() for k, t in a.state_dict().items()}
    data = [torch.randn(16, 3, 8, 8)]
    match(extract_spec(a, (data[0],)), a, b, data=data)
    assert torch.is_grad_enabled()
    assert a.training
    assert all(torch.equal(t, before[k]) for k, t in a.state_dict().items())


def test_what_is_missing_is_said() -> None:
    a = _network()
    x = torch.randn(4, 3, 8, 8)
    spec = extract_spec(a, (x,))
    with pytest.raises(MergeError, match="needs data"):
        match(spec, a, a)
    with pytest.raises(DataError, match="no batch"):
        match(spec, a, a, data=[])
    with pytest.raises(
        MergeError, match=r"no matching method 'magic'; there are activation, .*weight"
    ):
        match(spec, a, a, method="magic")
    with pytest.raises(MergeError, match=r"the source's '0\.weight' has shape \(9, 3, 3, 3\)"):
        other = {**a.state_dict(), "0.weight": torch.zeros(9, 3, 3, 3)}
        match(spec, a.state_dict(), other, method="weight")
    with pytest.raises(MergeError, match=r"the source has no '0\.bias'"):
        other = {k: t for k, t in a.state_dict().items() if k != "0.bias"}
        match(spec, a.state_dict(), other, method="weight")
