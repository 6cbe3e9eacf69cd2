"""Permutations are a group that acts on state dicts: laws, exactness, purity."""

import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import CASES, derived_sample
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.symmetry import Permutation, PermutationSpec, Permuted, extract_spec
from zooalign.symmetry.trial import random_state

# One of each structure: flat, nested, nested over two, sums, products, several axes.
NAMES = [
    "cifar_resnet20",
    "vgg_flatten",
    "channel_shuffle",
    "res2net",
    "grouped_query_expand",
    "talking_heads",
    "rotary_partial",
    "modular_addition",
    "experts_einsum",
    "patch_merging_cat",
    "normed_heads",
    "tied_embedding",
    "depth_multiplier",
]


@cache
def _spec(name: str) -> tuple[PermutationSpec, dict[str, Tensor]]:
    module, derived = derived_sample(name)
    return derived.spec, random_state(module, 3)


names = st.sampled_from(NAMES)
seeds = st.integers(0, 2**32 - 1)
fast = settings(max_examples=60, deadline=None)


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@fast
@given(names, seeds, seeds)
def test_applying_a_product_is_applying_one_after_the_other(name: str, p: int, q: int) -> None:
    spec, state = _spec(name)
    after, before = spec.random(p), spec.random(q)
    together = spec.apply(spec.compose(after, before), state)
    assert _equal(together, spec.apply(after, spec.apply(before, state)))


@fast
@given(names, seeds)
def test_inverse_undoes_exactly(name: str, p: int) -> None:
    spec, state = _spec(name)
    there = spec.random(p)
    back = spec.invert(there)
    assert _equal(spec.apply(back, spec.apply(there, state)), state)
    assert spec.compose(back, there).is_identity
    assert spec.compose(there, back).is_identity
    assert spec.invert(back) == there


@fast
@given(names, seeds, seeds, seeds)
def test_composition_is_associative_with_identity(name: str, p: int, q: int, r: int) -> None:
    spec, _ = _spec(name)
    a, b, c = (spec.random(seed) for seed in (p, q, r))
    assert spec.compose(a, spec.compose(b, c)) == spec.compose(spec.compose(a, b), c)
    assert spec.compose(a, spec.identity()) == a == spec.compose(spec.identity(), a)
    assert spec.invert(spec.compose(a, b)) == spec.compose(spec.invert(b), spec.invert(a))


@pytest.mark.parametrize("name", NAMES)
def test_identity_changes_nothing_and_copies_nothing(name: str) -> None:
    spec, state = _spec(name)
    moved = spec.apply(spec.identity(), state)
    assert all(moved[key] is state[key] for key in state)
    assert spec.identity().moved_fraction == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_apply_is_pure_and_keeps_values(name: str) -> None:
    spec, state = _spec(name)
    before = {key: value.clone() for key, value in state.items()}
    moved = spec.apply(spec.random(1), state)
    assert _equal(state, before)
    assert any(not torch.equal(moved[key], state[key]) for key in state)
    for key in state:
        assert moved[key].shape == state[key].shape
        assert torch.equal(moved[key].flatten().sort()[0], state[key].flatten().sort()[0])


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8],
)
@pytest.mark.parametrize("name", ["vgg_flatten", "experts_einsum", "grouped_query_expand"])
def test_every_dtype_is_moved_bit_by_bit(name: str, dtype: torch.dtype) -> None:
    spec, state = _spec(name)
    scaled = {key: (value * 20).to(dtype) for key, value in state.items()}
    permutation = spec.random(2)
    moved = spec.apply(permutation, scaled)
    exact = spec.apply(permutation, {key: value.double() for key, value in scaled.items()})
    assert all(value.dtype == dtype for value in moved.values())
    assert all(torch.equal(moved[key].double(), exact[key]) for key in moved)
    assert _equal(spec.apply(spec.invert(permutation), moved), scaled)


def test_statistics_of_batch_norm_move_with_their_units() -> None:
    spec, state = _spec("cifar_resnet20")
    permutation = spec.random(4)
    moved = spec.apply(permutation, state)
    group = next(g for g in spec.groups if g.id == "layer1.0.conv1.weight:0")
    index = torch.from_numpy(permutation.indices[group.id].copy())
    for part in ("running_mean", "running_var", "weight", "bias"):
        name = f"layer1.0.bn1.{part}"
        assert torch.equal(moved[name], state[name][index])
    assert torch.equal(moved["bn1.num_batches_tracked"], state["bn1.num_batches_tracked"])


def test_tied_names_stay_equal() -> None:
    spec, state = _spec("tied_embedding")
    assert torch.equal(state["embed.weight"], state["unembed.weight"])
    moved = spec.apply(spec.random(1), state)
    assert not torch.equal(moved["embed.weight"], state["embed.weight"])
    assert torch.equal(moved["embed.weight"], moved["unembed.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_seen_through_a_permutation(name: str) -> None:
    spec, state = _spec(name)
    permutation = spec.random(6)
    seen = Permuted(spec, permutation, state)
    assert len(seen) == len(state) and list(seen) == list(state)
    assert _equal(dict(seen), spec.apply(permutation, state))


def test_random_members_are_uniform_enough_and_repeatable() -> None:
    spec, _ = _spec("mlp" if "mlp" in NAMES else "vgg_flatten")
    assert spec.random(3) == spec.random(3)
    assert spec.random(3) != spec.random(4)
    seen = {tuple(spec.random(seed).indices[spec.groups[0].id]) for seed in range(300)}
    assert len(seen) > 200


def test_what_does_not_belong_together_is_refused() -> None:
    spec, state = _spec("vgg_flatten")
    other, _ = _spec("res2net")
    with pytest.raises(SpecError, match="belongs to the spec"):
        spec.apply(other.random(0), state)
    with pytest.raises(SpecError, match="no tensor 'more'"):
        spec.apply(spec.identity(), {**state, "more": torch.zeros(1)})
    wrong = {**state, "0.weight": torch.zeros(3, 3)}
    with pytest.raises(SpecError, match=r"shape \(3, 3\)"):
        spec.apply(spec.identity(), wrong)
    good = spec.random(0).indices
    for bad in ([0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [0, 1, 2]):
        with pytest.raises(SpecError):
            spec.apply(Permutation(spec.hash, {**good, "0.weight:0": bad}), state)
    with pytest.raises(SpecError, match="differ in groups"):
        spec.apply(Permutation(spec.hash, {}), state)


def test_values_are_frozen() -> None:
    spec, _ = _spec("vgg_flatten")
    permutation = spec.random(0)
    with pytest.raises(ValueError, match="read-only"):
        permutation.indices["0.weight:0"][0] = 1
    with pytest.raises(TypeError):
        permutation.indices["0.weight:0"] = None  # type: ignore[index]
    assert hash(permutation) == hash(spec.random(0))


@pytest.mark.parametrize("name", ["attention_3hd", "cifar_resnet20", "registers", "layer_scale"])
def test_hash_does_not_depend_on_batch_name_or_weights(name: str) -> None:
    case = CASES[name]
    hashes = set()
    for batch in (1, 2, 5):
        inputs = tuple(x[:1].expand(batch, *x.shape[1:]).clone() for x in case.inputs())
        hashes.add(extract_spec(case.build(), inputs, architecture=f"batch {batch}").hash)
    with torch.device("meta"):
        hashes.add(extract_spec(case.build(), case.inputs()).hash)
    assert len(hashes) == 1


@pytest.mark.slow
def test_hash_is_the_same_in_another_process() -> None:
    code = (
        "from sample_models import CASES; from zooalign.symmetry import extract_spec;"
        "c = CASES['talking_heads']; print(extract_spec(c.build(), c.inputs()).hash)"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == _spec("talking_heads")[0].hash
