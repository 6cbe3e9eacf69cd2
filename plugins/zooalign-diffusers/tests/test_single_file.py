"""Files under the original names: aligned, written back under them, loaded by diffusers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from original_layout import original_unet, original_vae
from safetensors.torch import load_file, save_file
from small_models import unet, vae, written
from zooalign.errors import CheckpointError
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import extract_spec
from zooalign.zoo.models import open_model

OTHER = {"cond_stage_model.transformer.weight": torch.ones(3, 2)}


def single_file(seed: int, path: Path, **beside: torch.Tensor) -> tuple[Any, Any]:
    """A U-Net as in SDXL and an autoencoder in one file, in half precision."""
    denoiser, autoencoder = unet(seed, sdxl=True).half(), vae(seed).half()
    tensors = {**original_unet(denoiser.state_dict()), **original_vae(autoencoder.state_dict())}
    tensors |= OTHER | beside
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return denoiser, autoencoder


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    written(unet(0, sdxl=True), tmp_path / "configs" / "unet")
    written(vae(0), tmp_path / "configs" / "vae")
    return tmp_path / "configs"


@pytest.mark.parametrize("component", ["unet", "vae"])
def test_it_is_read_as_diffusers_reads_it(component: str, configs: Path, tmp_path: Path) -> None:
    models = single_file(1, tmp_path / "xl.safetensors")
    opened = open_model(str(tmp_path / "xl.safetensors"), model=str(configs / component))
    state = opened.state_dict()
    model_class = type(models[component == "vae"])
    loaded = model_class.from_single_file(
        str(tmp_path / "xl.safetensors"),
        config=str(configs / component),
        torch_dtype=torch.float16,
        local_files_only=True,
    )
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(state[name], tensor), name
        assert torch.equal(models[component == "vae"].state_dict()[name], tensor)


@pytest.mark.parametrize("component", ["vae", pytest.param("unet", marks=pytest.mark.slow)])
def test_it_is_written_back_under_its_names(component: str, configs: Path, tmp_path: Path) -> None:
    path = tmp_path / "a" / "xl.safetensors"
    single_file(1, path)
    opened = open_model(str(path), model=str(configs / component))
    spec = extract_spec(opened.build(), opened.example_inputs(2))
    moved = spec.apply(spec.random(4), opened.state_dict())
    original = original_unet if component == "unet" else original_vae
    tensors = {**load_file(path), **original(moved)}
    (tmp_path / "b").mkdir()
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "b" / path.name)
    out = tmp_path / "out"
    align_models(
        str(path),
        str(tmp_path / "b" / path.name),
        str(out),
        AlignSettings(method="weight", model=str(configs / component)),
    )
    assert [file.name for file in out.glob("*.safetensors")] == [path.name]
    wanted, aligned = load_file(path), load_file(out / path.name)
    assert list(wanted) == list(aligned)
    assert all(torch.equal(wanted[name], aligned[name]) for name in wanted)
    loaded = open_model(str(path), model=str(configs / component)).adapter.load(out)
    assert all(
        torch.equal(p, q.float())
        for p, q in zip(loaded.state_dict().values(), opened.state_dict().values(), strict=True)
    )


def test_an_averaged_copy_is_refused_by_name(configs: Path, tmp_path: Path) -> None:
    """It would stay in the old order."""
    path = tmp_path / "xl.safetensors"
    single_file(1, path, **{"model_ema.diffusion_modelout2bias": torch.ones(4)})
    with pytest.raises(CheckpointError, match=r"model_ema.* a second copy"):
        open_model(str(path), model=str(configs / "unet")).state_dict()


def test_another_configuration_is_told(tmp_path: Path) -> None:
    single_file(1, tmp_path / "xl.safetensors")
    other = written(unet(0, sdxl=True, in_channels=9), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"conv_in\.weight: has shape"):
        open_model(str(tmp_path / "xl.safetensors"), model=str(other)).state_dict()
