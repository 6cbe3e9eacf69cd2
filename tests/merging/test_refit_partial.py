"""Refits of merges that are wider than their parents, and of parents of unequal widths."""

from collections.abc import Callable, Mapping

import pytest
import torch
from sample_models.widths import Mixed, convolutions, mlp, normed
from torch import Tensor, nn
from torch.func import functional_call

from zooalign.errors import MergeError
from zooalign.graph.capture import capture
from zooalign.matching import pad_to
from zooalign.merging import partial_merge, zip_merge
from zooalign.merging.refit import RefitSettings, refit, refit_partial
from zooalign.symmetry.trial import random_state

CASES = [(mlp, (40, 5)), (convolutions, (10, 3, 6, 6)), (Mixed, (40, 4)), (normed, (40, 5))]
SETTINGS = RefitSettings(method="least-squares", relu_rounds=2)


def _data(shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def _outputs(module: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = functional_call(module, dict(state), (x,))
    return output


@pytest.mark.parametrize(("build", "shape"), CASES)
@pytest.mark.parametrize("merged", [0.0, 0.5])
def test_equal_parents_keep_their_function(
    build: Callable[[], nn.Module], shape: tuple[int, ...], merged: float
) -> None:
    module, data = build().double().eval(), _data(shape)
    state = random_state(module, 0)
    wide = partial_merge(state, state, module=module, example_inputs=(data[0],), merged=merged)
    result = refit_partial(wide, state, state, module=module, data=data, settings=SETTINGS)
    torch.testing.assert_close(
        _outputs(wide.module, result.state, data[0]), _outputs(module, state, data[0])
    )


def test_models_side_by_side_stay_their_mean() -> None:
    module, data = mlp().double().eval(), _data((40, 5))
    a, b = (random_state(module, seed) for seed in (0, 1))
    wide = partial_merge(a, b, module=module, example_inputs=(data[0],), merged=0.0)
    result = refit_partial(wide, a, b, module=module, data=data, settings=SETTINGS)
    mean = (_outputs(module, a, data[0]) + _outputs(module, b, data[0])) / 2
    torch.testing.assert_close(_outputs(wide.module, result.state, data[0]), mean)


def test_a_padded_model_with_a_weight_of_one_is_itself() -> None:
    wide, narrow, data = mlp(9, 7).double().eval(), mlp(6, 5).double().eval(), _data((40, 5))
    a, b = random_state(wide, 0), random_state(narrow, 1)
    padded = pad_to(narrow, wide, b, (data[0],))
    captured = capture(wide, (data[0],))
    result = refit(captured, [a, padded.state], [0.0, 1.0], data, SETTINGS)
    torch.testing.assert_close(_outputs(wide, result.state, data[0]), _outputs(narrow, b, data[0]))


def test_models_whose_own_units_were_merged_are_refused() -> None:
    module, data = mlp().double().eval(), _data((40, 5))
    a, b = (random_state(module, seed) for seed in (0, 1))
    zipped = zip_merge(a, b, module=module, data=data)
    with pytest.raises(MergeError, match="with each other"):
        refit_partial(zipped, a, b, module=module, data=data)
