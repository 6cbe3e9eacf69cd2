"""Small models of many classes: proved, nothing unknown, and the same when run as a whole."""

import pytest
import torch
from zooalign.pipelines.spec import verify_model
from zooalign.release.settings import VerifySettings
from zooalign.zoo.models import open_model

CLASSES = [
    "UNet1DModel",
    "ControlNetModel",  # its residuals are answers
    "VQModel",  # a codebook
    "FluxTransformer2DModel",  # one attention over two streams, and rotary places
]
FURTHER = [
    "UNet2DConditionModel",
    "AutoencoderKLWan",  # convolutions that see the past alone
    "SD3Transformer2DModel",
    "PixArtTransformer2DModel",
    "WanTransformer3DModel",
]


@pytest.mark.parametrize(
    "name", [*CLASSES, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)]
)
def test_a_small_one_is_proved(name: str) -> None:
    reference = f"diffusers:{name}?size=small"
    report, found = verify_model(reference, VerifySettings())
    assert found.verdict == "proved" and found.max_relative_error < 1e-9, found
    spec = report.derived.spec
    assert spec.groups and not spec.unknown_operators
    model = open_model(reference)
    module, inputs = model.module(seed=1), model.example_inputs(2)
    moved = spec.apply(spec.random(3), module.state_dict())
    with torch.no_grad():
        before = module(*inputs)
        after = torch.func.functional_call(module, dict(moved), inputs)
    for answer, tensor in before.items():
        assert torch.allclose(after[answer], tensor, atol=1e-5 * max(1, float(tensor.abs().max())))
