"""Directories that ``save_pretrained`` wrote: aligned, merged, loaded back by diffusers."""

from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import unet, written
from zooalign.gate.check import check
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import extract_spec
from zooalign.zoo.models import open_model

NAME = "diffusion_pytorch_model.safetensors"


@pytest.mark.slow
def test_a_planted_permutation_is_undone(tmp_path: Path) -> None:
    first = written(unet(0, sdxl=True), tmp_path / "a")
    model = open_model(str(first))
    spec = extract_spec(model.build(), model.example_inputs(2))
    state = spec.apply(spec.random(5), model.state_dict())
    second = written(unet(0, sdxl=True), tmp_path / "b")
    save_file({k: v.contiguous() for k, v in state.items()}, second / NAME, {"format": "pt"})
    out = tmp_path / "out"
    align_models(str(first), str(second), str(out), AlignSettings(method="weight"))
    assert sorted(path.name for path in out.glob("*.safetensors")) == [NAME]
    wanted, aligned = load_file(first / NAME), load_file(out / NAME)
    assert wanted.keys() == aligned.keys()
    assert all(torch.equal(wanted[key], aligned[key]) for key in wanted)
    loaded = diffusers.UNet2DConditionModel.from_pretrained(out)
    assert loaded.config.cross_attention_dim == 12


@pytest.mark.slow
def test_half_precision_in_shards(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        written(unet(seed).half(), tmp_path / name, max_shard_size="60KB")
    out = tmp_path / "out"
    align_models(str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight"))
    files = sorted(path.name for path in (tmp_path / "b").glob("diffusion*"))
    assert sorted(path.name for path in out.glob("diffusion*")) == files and len(files) > 2
    source = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "b")
    moved = diffusers.UNet2DConditionModel.from_pretrained(out)
    assert any(
        not torch.equal(p, q) for p, q in zip(*map(_parameters, (source, moved)), strict=True)
    )
    x, step, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 12)
    with torch.no_grad():
        one, two = (m.double()(x.double(), step, text.double()).sample for m in (source, moved))
    assert torch.allclose(one, two, rtol=0, atol=1e-9 * float(one.abs().max()))
    report = check(str(out))
    assert not [f for f in report.findings if f.severity == "error" and "provenance" not in f.id]


def _parameters(model: torch.nn.Module) -> list[torch.Tensor]:
    return list(model.parameters())


def test_a_second_file_of_other_precision_is_passed_over(tmp_path: Path) -> None:
    directory = written(unet(0), tmp_path / "a")
    written(unet(0).half(), directory, variant="fp16")
    model = open_model(str(directory))
    assert [path.name for path in model.checkpoint.files] == [NAME]
    assert model.state_dict()["conv_in.weight"].dtype == torch.float32
