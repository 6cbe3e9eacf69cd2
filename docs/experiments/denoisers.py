"""Two small denoisers of handwritten digits: the denoising loss on the line between them.

    python docs/experiments/denoisers.py

Needs the plugin in plugins/zooalign-diffusers and scikit-learn, whose digits are the pictures.
"""

import tempfile
from pathlib import Path

import diffusers
import torch
from _page import FOLDER, table, verdict, write_page
from PIL import Image
from sklearn.datasets import load_digits

from zooalign.merging.plot import plot_lines
from zooalign.pipelines.barrier import barrier_models
from zooalign.release.settings import BarrierSettings
from zooalign.zoo.checkpoint import open_checkpoint

WEIGHTS = "diffusion_pytorch_model.safetensors"
TRAINED, CALIBRATION = 1400, 512
SIDE = 8
STEPS, BATCH, RATE = 2000, 64, 2e-3
METHODS = ("none", "weight", "activation")
LABELS = dict(zip(METHODS, ("as they are", "weight matching", "activation matching"), strict=True))
ALPHAS = 11
CHANNELS = (32, 64)
PICTURES, SAMPLING = 8, 50


def digits() -> torch.Tensor:
    """Pictures in [-1, 1]."""
    images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order]


def network(seed: int) -> diffusers.UNet2DModel:
    """Two resolutions, attention at the second."""
    torch.manual_seed(seed)
    return diffusers.UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def trained(seed: int, pictures: torch.Tensor) -> diffusers.UNet2DModel:
    """Adam on the mean squared error of the noise; the rate falls to zero along a cosine."""
    model = network(seed)
    scheduler = diffusers.DDPMScheduler()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        rows = torch.randint(0, len(pictures), (BATCH,), generator=generator)
        noise = torch.randn(BATCH, 1, SIDE, SIDE, generator=generator)
        steps = torch.randint(0, 1000, (BATCH,), generator=generator)
        noised = scheduler.add_noise(pictures[rows], noise, steps)
        loss = (model(noised, steps).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        if step % 500 == 0:
            print(f"seed {seed}, step {step}: {loss.item():.4f}", flush=True)
    return model.eval()


def folder_of(pictures: torch.Tensor, path: Path) -> Path:
    """The pictures as files."""
    path.mkdir()
    for number, picture in enumerate(((pictures[:, 0] + 1) * 127.5).round().byte()):
        Image.fromarray(picture.numpy()).save(path / f"{number:04d}.png")
    return path


@torch.no_grad()
def sampled(model: diffusers.UNet2DModel) -> torch.Tensor:
    """Pictures from one noise, without further noise on the way (DDIM)."""
    scheduler = diffusers.DDIMScheduler()
    scheduler.set_timesteps(SAMPLING)
    shape = (PICTURES, 1, SIDE, SIDE)
    picture = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for step in scheduler.timesteps:
        picture = scheduler.step(model(picture, step).sample, step, picture).prev_sample
    return picture.clamp(-1, 1)


def averages(first: Path, second: Path, calibration: Path, work: Path) -> list[Path]:
    """The average as they are, and after activation matching."""
    from zooalign.pipelines.merge import merge_models
    from zooalign.release.settings import MergeSettings

    paths = []
    for method in ("none", "activation"):
        out = work / f"average-{method}"
        settings = MergeSettings(method=method, data=str(calibration), refit="none")
        merge_models([str(first), str(second)], str(out), settings)
        paths.append(out)
    return paths


def grid(rows: list[torch.Tensor], path: Path, scale: int = 8) -> None:
    """One row of pictures a model."""
    whole = torch.cat([torch.cat(list(row[:, 0]), dim=1) for row in rows])
    image = Image.fromarray(((whole + 1) * 127.5).round().byte().numpy())
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """Train, measure and write the page."""
    torch.set_num_threads(1)
    pictures = digits()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        models = [trained(seed, pictures[:TRAINED]) for seed in (0, 1)]
        first, second = (work / "first", work / "second")
        for model, path in zip(models, (first, second), strict=True):
            model.save_pretrained(path)
            assert set(open_checkpoint(path / WEIGHTS)) == set(model.state_dict())
        calibration = folder_of(pictures[:CALIBRATION], work / "calibration")
        held_out = folder_of(pictures[TRAINED:], work / "held-out")
        settings = BarrierSettings(
            data=str(held_out),
            calibration=str(calibration),
            align=",".join(METHODS),
            alphas=ALPHAS,
        )
        curves = barrier_models(str(first), str(second), settings).to_dict()["curves"]
        merged = [
            diffusers.UNet2DModel.from_pretrained(path).eval()
            for path in averages(first, second, calibration, work)
        ]
    grid([sampled(model) for model in (*models, *merged)], FOLDER / "denoisers.png")
    write(dict(zip(METHODS, curves, strict=True)))


def write(curves: dict[str, dict[str, list[float]]]) -> None:
    """The page and the curve."""
    middle = ALPHAS // 2
    losses = {method: curve["loss"] for method, curve in curves.items()}
    ends = (losses["none"][0] + losses["none"][-1]) / 2
    rows = [
        [LABELS[method], f"{loss[0]:.4f}", f"{loss[-1]:.4f}", f"{loss[middle]:.4f}",
         f"{loss[middle] - ends:+.4f}"]
        for method, loss in losses.items()
    ]  # fmt: skip
    plot_lines(
        {
            "denoising loss": {
                LABELS[method]: [
                    (a, [v]) for a, v in zip(curve["alphas"], curve["loss"], strict=True)
                ]
                for method, curve in curves.items()
            }
        },
        FOLDER / "denoisers.svg",
        x="α, from one denoiser (0) to the other (1)",
    )
    worse = max(losses["none"][0], losses["none"][-1])
    rise = {method: loss[middle] - ends for method, loss in losses.items()}
    write_page(
        __file__,
        "Two denoisers of digits",
        f"U-Nets of diffusers (`UNet2DModel`, channels {CHANNELS}) that predict the noise in "
        f"digits of {SIDE} by {SIDE} pixels, trained apart from seeds 0 and 1: {STEPS} steps of "
        f"{BATCH} pictures out of {TRAINED}. Loss is the mean squared error of the noise on the "
        f"other pictures, at drawn steps; matching sees {CALIBRATION} pictures of the training.",
        table(["", "first", "second", "halfway", "over the ends"], rows),
        "![Denoising loss between the two](denoisers.svg)",
        "Pictures from one noise by 50 steps of DDIM; rows: the first denoiser, the second, their "
        "average as they are, their average after activation matching.",
        "![Pictures of both denoisers and of two averages](denoisers.png)",
        verdict(
            rise["activation"] < rise["none"] / 2,
            "activation matching takes away at least half of the loss barrier halfway",
            f"{rise['none']:.4f} as they are, {rise['activation']:.4f} after",
        ),
        verdict(
            losses["activation"][middle] <= worse,
            "the aligned average denoises as well as the worse of both",
            f"{losses['activation'][middle]:.4f} against {worse:.4f}",
        ),
    )


if __name__ == "__main__":
    main()
