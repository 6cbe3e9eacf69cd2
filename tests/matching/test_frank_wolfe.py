"""Relaxed matching: the relaxation is the permutation at its corners, the step is exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from zooalign.errors import MergeError
from zooalign.matching import match
from zooalign.matching.frank_wolfe import maximise_on_unit
from zooalign.matching.relaxed import Relaxation
from zooalign.symmetry import extract_spec
from zooalign.symmetry.trial import random_state
from zooalign.testing.models import cifar_resnet20, modular_addition


def _vit() -> nn.Module:
    return VisionTransformer(
        img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=3, num_classes=3
    )


MODELS = {
    "heads and dims": (_vit, (torch.zeros(2, 3, 16, 16),)),
    "option A": (cifar_resnet20, (torch.zeros(2, 3, 32, 32),)),
    "raw heads": (modular_addition, (torch.zeros(3, 2, dtype=torch.long),)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_matrices_of_a_permutation_do_what_it_does(name: str) -> None:
    make, inputs = MODELS[name]
    module = make().eval()
    spec = extract_spec(module, inputs)
    state = {k: t for k, t in random_state(module, 0).items() if t.is_floating_point()}
    relaxation = Relaxation(spec, state)
    permutation = spec.random(3)
    matrices = relaxation.matrices(permutation, torch.zeros(1, dtype=torch.float64))
    for tensor in state:
        wanted = spec.apply(permutation, {tensor: state[tensor].double()})[tensor]
        found = relaxation.moved(matrices, tensor, state[tensor].double())
        assert torch.equal(found, wanted), tensor


@pytest.mark.parametrize("name", MODELS)
def test_the_mean_of_permutations_is_doubly_stochastic_and_their_mean(name: str) -> None:
    make, inputs = MODELS[name]
    spec = extract_spec(make().eval(), inputs)
    relaxation = Relaxation(spec, spec.shapes)
    like = torch.zeros(1, dtype=torch.float64)
    uniform = relaxation.uniform(like)
    samples = [relaxation.matrices(spec.random(seed), like) for seed in range(200)]
    for group, matrix in uniform.items():
        assert torch.allclose(matrix.sum(0), torch.ones(len(matrix)).double())
        assert torch.allclose(matrix.sum(1), torch.ones(len(matrix)).double())
        mean = torch.stack([s[group] for s in samples]).mean(0)
        assert float((mean - matrix).abs().max()) < 0.2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5))
def test_the_step_is_the_best_on_the_line(values: list[float]) -> None:
    nodes = 0.5 - 0.5 * np.cos(np.pi * np.arange(len(values)) / (len(values) - 1))
    line = np.polynomial.Polynomial.fit(nodes, values, len(values) - 1)
    best = maximise_on_unit(values)
    assert 0 <= best <= 1
    assert line(best) >= line(np.linspace(0, 1, 201)).max() - 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_a_planted_permutation_is_found_from_one_start(name: str) -> None:
    make, inputs = MODELS[name]
    module = make().eval()
    spec = extract_spec(module, inputs)
    target = {
        k: t.float() if t.is_floating_point() else t for k, t in random_state(module, 1).items()
    }
    source = spec.apply(spec.random(5), target)
    found = match(spec, target, source, method="frank-wolfe")
    assert found.details["exact"] == 1 and found.method == "frank-wolfe"


def test_of_independent_networks_the_relaxed_optimum_is_reported_and_starts_help() -> None:
    spec = extract_spec(_vit().eval(), MODELS["heads and dims"][1])
    a, b = (random_state(_vit(), seed) for seed in (1, 2))
    one = match(spec, a, b, method="frank-wolfe")
    many = match(spec, a, b, method="frank-wolfe", starts=4)
    assert many.objective_after >= one.objective_after > one.objective_before
    assert many.details["spread"] >= 0 and many.details["starts"] == 4
    assert one.details["relaxed_objective"] > 0


def test_an_unknown_option_is_named() -> None:
    spec = extract_spec(_vit().eval(), MODELS["heads and dims"][1])
    with pytest.raises(MergeError, match="has no option 'kind'; it has polish, scale, starts"):
        match(spec, _vit(), _vit(), method="frank-wolfe", kind="correlation")
