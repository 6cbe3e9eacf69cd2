"""Pictures with the noise that a denoiser is trained on, and the loss that it is trained with."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from small_models import unet, vae, written
from zooalign.errors import DataError, ZooalignWarning
from zooalign.pipelines.barrier import barrier_models
from zooalign.release.calibration import Loading, open_for
from zooalign.release.settings import BarrierSettings
from zooalign.zoo.models import open_model

LOADING = Loading(batch_size=4)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(10):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.effect_noise((24, 20), 60 + 10 * number).convert("RGB")
        image.save(folder / f"{number}.png")
    return tmp_path / "pictures"


def plain(seed: int, **fields: Any) -> Any:
    torch.manual_seed(seed)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16),
        norm_num_groups=4, layers_per_block=1, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, **fields,
    ).eval()  # fmt: skip


def test_noise_of_ddpm_at_drawn_steps(pictures: Path, tmp_path: Path) -> None:
    model = open_model(str(written(plain(0, num_class_embeds=2), tmp_path / "a")))
    batches = list(open_for(model, str(pictures), LOADING))
    again = list(open_for(model, str(pictures), LOADING))
    assert [len(target) for _, target in batches] == [4, 4, 2]
    alphas = diffusers.DDPMScheduler().alphas_cumprod
    for ((noised, steps, classes), noise), (inputs, _) in zip(batches, again, strict=True):
        kept = alphas[steps].sqrt().view(-1, 1, 1, 1)
        picture = (noised - (1 - alphas[steps]).sqrt().view(-1, 1, 1, 1) * noise) / kept
        visible = steps < 600  # at later steps nothing but rounding is left of the picture
        assert picture[visible].abs().max() < 1.01
        assert torch.equal(noised, inputs[0])
        assert classes.tolist() == [0, 1] * (len(classes) // 2)


def test_latents_of_the_autoencoder_beside_it(pictures: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    written(unet(0), pipeline / "unet")
    autoencoder = vae(0)
    written(autoencoder, pipeline / "vae")
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction")
    scheduler.save_pretrained(pipeline / "scheduler")
    (pipeline / "model_index.json").write_text("{}")
    model = open_model(str(pipeline / "unet"))
    with pytest.warns(ZooalignWarning, match="gives encoder_hidden_states .* drawn at random"):
        opened = open_for(model, str(pictures), LOADING)
    (noised, steps, text), velocity = next(iter(opened))
    assert noised.shape == velocity.shape == (4, 4, 8, 8) and text.shape == (4, 5, 12)
    image = open_for(open_model(str(pipeline / "vae")), str(pictures), LOADING)
    (sample,), target = next(iter(image))
    assert torch.equal(sample, target) and sample.shape == (4, 3, 16, 16)
    with torch.no_grad():
        latents = autoencoder.encode(sample).latent_dist.mode() * 0.18215
    a = scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    # By v = sqrt(a) noise - sqrt(1 - a) x and what was noised, x is known.
    assert torch.allclose(a.sqrt() * noised - (1 - a).sqrt() * velocity, latents, atol=1e-5)


def test_the_ends_of_a_barrier_are_the_denoising_losses(pictures: Path, tmp_path: Path) -> None:
    names = [str(written(plain(seed), tmp_path / name)) for seed, name in enumerate("ab")]
    report = barrier_models(*names, BarrierSettings(data=str(pictures), alphas=3))
    losses = report.to_dict()["curves"][0]["loss"]
    for name, loss in ((names[0], losses[0]), (names[1], losses[-1])):
        model = open_model(name)
        errors = []
        with torch.no_grad():
            for inputs, noise in open_for(model, str(pictures), LOADING):
                errors.append((model.module()(*inputs)["output"] - noise).square().flatten(1))
        assert torch.cat(errors).mean().item() == pytest.approx(loss, rel=1e-4)


def test_what_takes_no_pictures_is_refused(pictures: Path) -> None:
    model = open_model("diffusers:FluxTransformer2DModel?size=small")
    with pytest.raises(DataError, match="which a folder of pictures does not give"):
        open_for(model, str(pictures), LOADING)


def test_a_denoiser_of_latents_without_its_autoencoder(pictures: Path, tmp_path: Path) -> None:
    model = open_model(str(written(unet(0), tmp_path / "unet")))
    with pytest.raises(DataError, match=r"takes 4 channels, and pictures give it 3.*vae/"):
        open_for(model, str(pictures), LOADING)
