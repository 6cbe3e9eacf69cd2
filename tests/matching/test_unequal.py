"""A narrow model padded to a wide one computes what it did, or is refused by operator and layer."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models.widths import Attention, Mixed, convolutions, mlp, normed
from scipy.optimize import linear_sum_assignment
from torch import nn

import zooalign
from zooalign.errors import MergeError
from zooalign.matching.widths import pad_to
from zooalign.symmetry.precision import relative_error
from zooalign.symmetry.trial import outputs, random_inputs, random_state

pytestmark = pytest.mark.slow

INPUTS = {
    mlp: (torch.zeros(4, 5),),
    convolutions: (torch.zeros(2, 3, 6, 6),),
    Mixed: (torch.zeros(3, 4),),
    Attention: (torch.zeros(2, 4, 5),),
}
WIDE_AND_NARROW = [
    (mlp, (9, 7), (6, 7)),
    (mlp, (9, 7), (4, 3)),
    (convolutions, (7, 6), (3, 5)),
    (Mixed, (8, 7), (6, 4)),
    (Attention, (8, 3, 2, 3), (6, 2, 2, 3)),
    (Attention, (6, 2, 3, 3), (6, 2, 2, 3)),  # query heads nested in heads of keys
    (Attention, (7, 4, 3, 2), (5, 2, 2, 2)),
]


def _error(narrow: nn.Module, wide: nn.Module, example: tuple[Any, ...], seed: int = 5) -> float:
    state, inputs = random_state(narrow, seed), random_inputs(example, seed)
    padded = pad_to(narrow, wide, state, example)
    assert {n: tuple(t.shape) for n, t in padded.state.items()} == dict(padded.spec.shapes)
    permutation = padded.spec.random(seed)
    moved = padded.permuted(permutation)
    reference = outputs(narrow, state, inputs)
    assert sum(int(kept.sum()) for kept in moved.live.values()) == sum(
        int(kept.sum()) for kept in padded.live.values()
    )
    return max(
        relative_error(reference, outputs(wide, found.state, inputs)) for found in (padded, moved)
    )


@pytest.mark.parametrize(("build", "wide", "narrow"), WIDE_AND_NARROW)
def test_the_function_stays(build: Any, wide: tuple[int, ...], narrow: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    assert _error(build(*narrow), build(*wide), INPUTS[build]) < 1e-12


_widths = st.integers(2, 6)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.tuples(_widths, st.integers(0, 4)), min_size=1, max_size=4),
    norms=st.lists(st.booleans(), min_size=4, max_size=4),
    kinds=st.lists(
        st.sampled_from([nn.ReLU, nn.GELU, nn.Sigmoid, nn.Tanh]), min_size=4, max_size=4
    ),
    convolution=st.booleans(),
)
def test_random_networks(
    sizes: list[tuple[int, int]], norms: list[bool], kinds: list[Any], convolution: bool
) -> None:
    def build(widths: list[int]) -> nn.Module:
        layers: list[nn.Module] = []
        inside = 3
        for width, norm, kind in zip(widths, norms, kinds, strict=False):
            layers.append(
                nn.Conv2d(inside, width, 3, 1, 1) if convolution else nn.Linear(inside, width)
            )
            if norm:
                layers.append(nn.BatchNorm2d(width) if convolution else nn.BatchNorm1d(width))
            layers.append(kind())
            inside = width
        if convolution:
            layers.append(nn.Flatten())
        return nn.Sequential(*layers, nn.Linear(inside * (16 if convolution else 1), 2))

    example = (torch.zeros(2, 3, 4, 4) if convolution else torch.zeros(3, 3),)
    wide = build([n + more for n, more in sizes])
    assert _error(build([n for n, _ in sizes]), wide, example) < 1e-12


def test_the_operator_that_forbids_it_is_named() -> None:
    wide, narrow = normed(8, 6), normed(5, 6)
    with pytest.raises(
        MergeError, match=r"'0.weight:0' \(S_5 against S_8\).*layer_norm.*'1.weight'"
    ):
        pad_to(narrow, wide, narrow.state_dict(), (torch.zeros(4, 5),))
    pad_to(normed(8, 3), wide, normed(8, 3).state_dict(), (torch.zeros(4, 5),))

    def groups(n: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, n, 1), nn.GroupNorm(2, n), nn.Conv2d(n, 2, 1))

    with pytest.raises(MergeError, match=r"group_norm.*'1.weight'"):
        pad_to(groups(4), groups(6), groups(4).state_dict(), (torch.zeros(2, 3, 4, 4),))
    # More head dims change the scale of the scores.
    one, other = Attention(6, 2, 2, 2), Attention(6, 2, 2, 3)
    with pytest.raises(MergeError, match="scaled_dot_product_attention"):
        pad_to(one, other, one.state_dict(), (torch.zeros(2, 4, 5),))


def test_other_architectures_are_refused() -> None:
    example = (torch.zeros(4, 5),)
    with pytest.raises(MergeError, match="no group may be larger in the narrow model"):
        pad_to(mlp(9, 4), mlp(8, 6), mlp(9, 4).state_dict(), example)
    with pytest.raises(MergeError, match="differ in more than widths"):
        pad_to(normed(), mlp(), normed().state_dict(), example)
    with pytest.raises(MergeError, match="differ in more than widths: their graphs"):
        pad_to(mlp(6, 6), mlp(8, 6, nn.ReLU), mlp(6, 6).state_dict(), example)
    with pytest.raises(MergeError, match=r"'0.weight' has shape \(8, 5\), the narrow"):
        pad_to(mlp(6, 6), mlp(8, 6), mlp(8, 6).state_dict(), example)


def test_planted_units_are_found_in_the_wider_model() -> None:
    """The narrow model is made of units of the wide one: matching finds which."""
    torch.manual_seed(1)
    wide, narrow = mlp(12, 10).double().eval(), mlp(7, 6).double().eval()
    target = random_state(wide, 3)
    generator = np.random.default_rng(0)
    first, second = generator.permutation(12)[:7], generator.permutation(10)[:6]
    unread = np.setdiff1d(np.arange(12), first)
    target["3.weight"][:, unread] = 0  # so that activations of the second layer are equal too
    source = {
        name: tensor[first] if tensor.ndim and len(tensor) == 12 else tensor
        for name, tensor in target.items()
    }
    source["3.weight"] = target["3.weight"][second][:, first]
    source["3.bias"], source["5.weight"] = target["3.bias"][second], target["5.weight"][:, second]
    padded = pad_to(narrow, wide, source, (torch.zeros(4, 5).double(),))
    data = [torch.randn(200, 5, dtype=torch.float64)]
    for options in ({"method": "weight"}, {"method": "activation", "data": data, "module": wide}):
        found = zooalign.match(padded.spec, target, padded.state, **options)
        moved = padded.permuted(found.permutation)
        assert set(np.flatnonzero(moved.live["0.weight:0"])) == set(first), options
        assert set(np.flatnonzero(moved.live["3.weight:0"])) == set(second), options
        kept = torch.from_numpy(moved.live["0.weight:0"].copy())
        assert torch.equal(moved.state["0.weight"][kept], target["0.weight"][kept])


def test_a_padded_pair_is_matched_as_a_rectangular_assignment() -> None:
    torch.manual_seed(2)

    def build(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, n), nn.ReLU(), nn.Linear(n, 2)).double()

    wide, narrow = build(9), build(4)
    padded = pad_to(narrow, wide, narrow.state_dict(), (torch.zeros(4, 5).double(),))
    found = zooalign.match(padded.spec, wide, padded.state, method="weight", scale="plain")
    moved = padded.permuted(found.permutation)

    def units(module: nn.Module) -> torch.Tensor:
        state = module.state_dict()
        return torch.cat([state["0.weight"], state["0.bias"][:, None], state["2.weight"].T], 1)

    similarity = (units(wide) @ units(narrow).T).numpy()
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    best = similarity[rows, columns].sum()
    reached = sum(
        float((wide.state_dict()[n] * moved.state[n]).sum())
        for n in ("0.weight", "0.bias", "2.weight")
    )
    assert reached == pytest.approx(best)
