"""Nested assignment is exact: compared with every member of small groups."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from sample_models.attention import Fused

from zooalign.matching.assignment import assign, linear, unit_order, whole
from zooalign.symmetry import PermutationSpec, extract_spec


@pytest.fixture(scope="module")
def spec() -> PermutationSpec:
    found = extract_spec(Fused("3hd", stream=4, heads=2, dims=3), (torch.zeros(1, 5, 4),))
    assert [(g.size, g.contexts) for g in found.groups] == [(2, ()), (3, (2,)), (3, (2,))]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_nested_assignment_finds_the_best_of_all_members(spec: PermutationSpec, seed: int) -> None:
    generator = np.random.default_rng(seed)
    heads, first, second = spec.groups
    similarity = {g.id: generator.normal(size=(g.copies * g.size,) * 2) for g in spec.groups}
    found = whole(spec, assign(spec, similarity))

    def value(permutation: object) -> float:
        return sum(
            float(m[np.arange(len(m)), unit_order(spec, g, permutation)].sum())  # type: ignore[arg-type]
            for g, m in similarity.items()
        )

    dims = [np.array(p) for p in permutations(range(3))]
    best = -np.inf
    for order in permutations(range(2)):
        # Given the heads, each inner permutation stands alone.
        total = value(whole(spec, {heads.id: np.array(order)}))
        for group in (first, second):
            base = whole(spec, {heads.id: np.array(order)})
            gains = []
            for inner in product(dims, repeat=2):
                tried = whole(spec, {heads.id: np.array(order), group.id: np.stack(inner)})
                gains.append(value(tried) - value(base))
            total += max(gains)
        best = max(best, total)
    assert value(found) == pytest.approx(best)


def test_units_that_nothing_tells_apart_stay() -> None:
    assert linear(np.zeros((6, 6))).tolist() == list(range(6))
    assert linear(np.ones((6, 6)) * 1e9).tolist() == list(range(6))


def test_a_real_difference_beats_staying() -> None:
    similarity = np.eye(4)[[1, 0, 3, 2]]
    assert linear(similarity).tolist() == [1, 0, 3, 2]
