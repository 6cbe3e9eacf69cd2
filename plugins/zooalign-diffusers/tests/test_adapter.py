"""References, configurations, what is refused, and the order of what lies between two halves."""

import json
from pathlib import Path

import pytest
import torch
from small_models import unet, vae, written
from zooalign.errors import ModelReferenceError
from zooalign.hooks.manager import loaded_plugins
from zooalign.symmetry import derive_spec
from zooalign.zoo.models import open_model


def test_the_plugin_is_found_by_its_entry_point() -> None:
    (info,) = (i for i in loaded_plugins() if i.name == "diffusers")
    assert info.error is None
    assert info.distribution == "zooalign-diffusers"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("UNet2DConditionalModel", "no model class .* similar: UNet2DConditionModel"),
        ("StableDiffusionPipeline", "no model class 'StableDiffusionPipeline'"),
        ("UNet2DModel?in_chanels=4", "has no field 'in_chanels'; similar: in_channels"),
        ("UNet2DModel?size=tiny", "there is size=small only"),
        ("UNet2DModel?block_out_channels=[8]", "diffusers cannot build it"),
        ("MotionAdapter?size=small", "are not in the table of model classes"),
    ],
)
def test_what_is_refused(reference: str, message: str) -> None:
    with pytest.raises(ModelReferenceError, match=message):
        open_model(f"diffusers:{reference}").build()


def test_a_directory_is_recognised_by_its_class(tmp_path: Path) -> None:
    model = open_model(str(written(unet(0, sdxl=True), tmp_path / "a")))
    assert model.architecture.name == "UNet2DConditionModel"
    names = ["sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids"]
    assert len(model.example_inputs(3)) == len(names)
    with torch.no_grad():
        (output,) = model.module()(*model.example_inputs(3)).values()
    assert output.shape == (3, 4, 8, 8)


def test_quantised_weights_are_refused_by_name(tmp_path: Path) -> None:
    directory = written(unet(0), tmp_path / "a")
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes"}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelReferenceError, match="quantised weights"):
        open_model(str(directory))


def test_the_latents_of_an_autoencoder_keep_their_order(tmp_path: Path) -> None:
    """A denoiser is trained on them: its inputs would be in another order than it knows."""
    model = open_model(str(written(vae(0), tmp_path / "a")))
    module, inputs = model.build(), model.example_inputs(2)
    spec = derive_spec(module, inputs).spec
    moved = {(m.parameter, axis) for g in spec.groups for m in g.members for axis in m.axes}
    assert ("decoder.conv_in.weight", 0) in moved
    assert ("post_quant_conv.weight", 1) not in moved
    assert not any(name == "quant_conv.weight" and axis == 0 for name, axis in moved)
    real = model.module()
    state = spec.apply(spec.random(0), real.state_dict())
    with torch.no_grad():
        before = real(*inputs)
        after = torch.func.functional_call(real, dict(state), inputs)
    for name, tensor in before.items():
        assert torch.allclose(after[name], tensor, atol=1e-5 * float(tensor.abs().max()))
