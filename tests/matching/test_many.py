"""Many networks: planted orders are found, cycles close exactly, no way is worse than its start."""

from functools import cache
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models.streams import AttentionAndMLP
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.matching import match
from zooalign.matching.joint import WeightObjective
from zooalign.matching.many import METHODS, WAYS, ManyMatch, match_many
from zooalign.symmetry import PermutationSpec, extract_spec

pytestmark = pytest.mark.slow

DATA = [torch.randn(60, 6, generator=torch.Generator().manual_seed(n)) for n in range(3)]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))


@cache
def networks(
    make: type[nn.Module] | object, count: int
) -> tuple[nn.Module, PermutationSpec, list[dict[str, Tensor]]]:
    states = []
    for seed in range(count):
        torch.manual_seed(seed)
        module = make()  # type: ignore[operator]
        states.append({n: t.clone() for n, t in module.state_dict().items()})
    return module, extract_spec(module, (DATA[0][:2],)), states


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("through", WAYS)
def test_planted_orders_are_undone(method: str, through: str) -> None:
    module, spec, (first, *_) = networks(mlp, 1)
    planted = [first, *(spec.apply(spec.random(n), first) for n in range(1, 4))]
    found = match_many(spec, planted, method=method, through=through, data=DATA, module=module)
    for permutation, state in zip(found.permutations, planted, strict=True):
        moved = spec.apply(permutation, state)
        assert all(torch.equal(moved[name], first[name]) for name in first)
    assert found.objective_after == pytest.approx(1.0, abs=1e-5)
    assert found.permutations[0] == spec.identity()


@pytest.mark.parametrize(
    ("make", "through"),
    [(mlp, "reference"), (mlp, "mean"), (mlp, "universe"), (AttentionAndMLP, "universe")],
)
@pytest.mark.parametrize("method", METHODS)
def test_cycles_close_to_the_bit(make: object, method: str, through: str) -> None:
    module, spec, states = networks(make, 4)
    found = match_many(spec, states, method=method, through=through, data=DATA, module=module)
    for order in permutations(range(4)):
        around = spec.identity()
        for i, j in pairwise((*order, order[0])):
            around = spec.compose(around, found.between(spec, i, j))
        assert around == spec.identity()
        there = spec.apply(found.between(spec, order[0], order[1]), states[order[1]])
        other = spec.apply(
            spec.invert(found.permutations[order[0]]),
            spec.apply(found.permutations[order[1]], states[order[1]]),
        )
        assert all(torch.equal(there[name], other[name]) for name in there)


@pytest.mark.parametrize("make", [mlp, AttentionAndMLP])
@pytest.mark.parametrize("method", METHODS)
def test_a_universe_is_never_worse_than_its_references(make: object, method: str) -> None:
    module, spec, states = networks(make, 4)

    def after(through: str, references: tuple[int, ...]) -> ManyMatch:
        return match_many(
            spec, states, method=method, through=through, references=references,
            data=DATA, module=module,
        )  # fmt: skip

    everyone = (0, 1, 2, 3)
    best = after("reference", everyone)
    single = [after("reference", (n,)).objective_after for n in everyone]
    assert best.objective_after == max(single)
    assert best.reference == single.index(max(single))
    universe = after("universe", everyone)
    assert universe.objective_after >= best.objective_after
    assert universe.objective_after > universe.objective_before
    assert universe.details[f"from_{universe.reference}"] == universe.objective_after
    assert universe.permutations[universe.reference] == spec.identity()


@pytest.mark.parametrize("method", METHODS)
def test_two_networks_are_a_pair(method: str) -> None:
    module, spec, states = networks(mlp, 2)
    pair = match(spec, *states, method=method, data=DATA, module=module)
    many = match_many(spec, states, method=method, through="reference", data=DATA, module=module)
    assert many.permutations == (spec.identity(), pair.permutation)
    assert many.objective_before == pytest.approx(pair.objective_before, abs=1e-6)
    assert many.objective_after == pytest.approx(pair.objective_after, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([mlp, AttentionAndMLP]))
def test_the_gain_of_a_step_is_the_change_of_the_objective(seed: int, make: object) -> None:
    _, spec, states = networks(make, 3)
    at = [spec.random(seed + n) for n in range(3)]
    objective = WeightObjective(spec, [[s] for s in states], at, scale="plain")
    before = objective.total()
    family = objective.families[seed % len(objective.families)]
    step = spec.random(seed + 5)
    chosen = {g: step.indices[g] for g in family}
    step = type(step)(spec.hash, {**spec.identity().indices, **chosen})
    gain = objective.move(1, family, step)
    assert objective.total() - before == pytest.approx(gain, abs=1e-5)
    moved = [spec.compose(step, at[1]) if n == 1 and gain else at[n] for n in range(3)]
    again = WeightObjective(spec, [[s] for s in states], moved, scale="plain")
    assert again.total() == pytest.approx(objective.total(), abs=1e-5)


def test_what_is_kept_of_activations_is_linear() -> None:
    module, spec, states = networks(mlp, 4)

    def kept(count: int, batches: int, columns: int = 1024) -> float:
        found = match_many(
            spec, states[:count], data=DATA[:batches], module=module, columns=columns
        )
        return found.details["bytes"]

    assert kept(4, 3) == 2 * kept(2, 3) == 3 * kept(4, 1)
    assert kept(4, 3, columns=30) == kept(4, 3) / 2


def test_what_does_not_fit_is_refused() -> None:
    _, spec, states = networks(mlp, 3)
    with pytest.raises(MergeError, match="two networks or more"):
        match_many(spec, states[:1], method="weight")
    with pytest.raises(MergeError, match="data and the module"):
        match_many(spec, states)
    with pytest.raises(MergeError, match="universe, mean, reference"):
        match_many(spec, states, method="weight", through="consensus")
    with pytest.raises(MergeError, match="by activation or weight"):
        match_many(spec, states, method="guess")
    with pytest.raises(MergeError, match="not among the 3 networks"):
        match_many(spec, states, method="weight", references=(3,))
    with pytest.raises(MergeError, match="same number"):
        match_many(spec, [states[:1], states[1:]], method="weight")
    with pytest.raises(MergeError, match=r"differ in tensors \(0\.bias\)"):
        less = {n: t for n, t in states[1].items() if n != "0.bias"}
        match_many(spec, [states[0], less], method="weight")
    with pytest.raises(MergeError, match=r"'0\.weight' has shape \(9, 5\)"):
        match_many(spec, [states[0], {**states[1], "0.weight": torch.zeros(9, 5)}], method="weight")
    with pytest.raises(MergeError, match="NaN or infinite"):
        bad = {**states[1], "0.weight": torch.full((9, 6), torch.nan)}
        match_many(spec, [states[0], bad, states[2]], method="weight", through="mean")
