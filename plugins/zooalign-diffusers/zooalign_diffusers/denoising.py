"""Pictures as what a denoiser is trained on: noised at drawn steps, with the noise as target.

What a denoiser takes besides stands in its pipeline: a component's folder has the scheduler, the
autoencoder and the text encoder beside it. Without a scheduler the steps are those of DDPM; what
there is no encoder for is drawn, and said in a warning.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from zooalign.plugins import (
    Architecture,
    Batches,
    DataBatch,
    DataError,
    DataReference,
    Preprocess,
    ZooalignWarning,
    image_batches,
)

from zooalign_diffusers.building import inputs_for
from zooalign_diffusers.model_classes import class_named, complete, entry_named, quiet

__all__ = ["open_pictures", "picture_preprocess", "scoring"]

Measure = Callable[[Any, Any], Tensor]
_STEP_NAMES = ("timestep", "timesteps", "timestep_ratio")
_LABELS = "class_labels"
_TEXT = "encoder_hidden_states"
_DRAWN = 64


def open_pictures(
    architecture: Architecture,
    directory: Path | None,
    reference: DataReference,
    *,
    batch_size: int,
    limit: int | None,
) -> Batches:
    """A folder of pictures as inputs of a model, with what it is trained to give as targets.

    For an autoencoder, the pictures themselves. For a denoiser, latents (of the autoencoder beside
    it, else the pictures) with noise of the scheduler at steps drawn from all that it has; noise
    and steps are the same in every pass. Subfolders are classes, for a model that takes classes.

    Raises
    ------
    DataError
        The model takes no pictures, or the pipeline's parts cannot be loaded.
    """
    reference.require_options("slice")
    where = f"diffusers:{architecture.name}"
    pipeline = _Pipeline.around(directory)
    prepared = picture_preprocess(architecture, pipeline)
    pictures = image_batches(reference, prepared, batch_size=batch_size, limit=limit)
    if entry_named(architecture.name, where).latents:

        def reconstruct() -> Iterator[DataBatch]:
            for (images,), _ in pictures:
                yield (images,), images

        return Batches(reference.text, pictures.rows, True, reconstruct)
    denoiser = _Denoiser(architecture, pipeline, where)
    denoiser.tell()

    def denoise() -> Iterator[DataBatch]:
        first = 0
        for (images,), classes in pictures:
            yield denoiser.batch(images, classes, first)
            first += len(images)

    return Batches(reference.text, pictures.rows, True, denoise)


def scoring(architecture: Architecture) -> tuple[Measure, None]:
    """The mean squared error of each picture as loss; there is no metric besides."""

    def error(answers: Any, targets: Tensor) -> Tensor:
        found = answers.get("decoded", answers.get("output"))
        if found is None or found.shape[:1] != targets.shape[:1]:
            raise DataError(
                f"diffusers:{architecture.name}: no answer for targets of {tuple(targets.shape)}"
            )
        # One that also predicts a variance has it in further channels.
        found = found[:, : targets.shape[1]]
        return F.mse_loss(found.float(), targets.float(), reduction="none").flatten(1).mean(1)

    return error, None


@dataclass(frozen=True)
class _Pipeline:
    """The folder of a pipeline around one of its components; None where there is none."""

    folder: Path | None

    @classmethod
    def around(cls, directory: Path | None) -> "_Pipeline":
        if directory is None or not (directory.parent / "model_index.json").is_file():
            return cls(None)
        return cls(directory.parent)

    def part(self, name: str, *, file: str = "config.json") -> Path | None:
        if self.folder is None or not (self.folder / name / file).is_file():
            return None
        return self.folder / name

    @cached_property
    def autoencoder(self) -> Any:
        folder = self.part("vae")
        if folder is None:
            return None
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _loaded(class_named(str(config.get("_class_name")), str(folder)), folder)

    @cached_property
    def scheduler(self) -> Any:
        import diffusers

        folder = self.part("scheduler", file="scheduler_config.json")
        if folder is None:
            return diffusers.DDPMScheduler()
        config = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
        # Of every scheduler, what it trains with is the noise of one of these two.
        flow = "FlowMatch" in str(config.get("_class_name"))
        kind = diffusers.FlowMatchEulerDiscreteScheduler if flow else diffusers.DDPMScheduler
        with quiet():
            return kind.from_config(config)

    def latents(self, images: Tensor) -> Tensor:
        """What the autoencoder makes of pictures in [-1, 1], as the denoiser takes it."""
        model = self.autoencoder
        if model is None:
            return images
        encoded = model.encode(images, return_dict=False)[0]
        latents: Tensor = encoded if isinstance(encoded, Tensor) else encoded.mode()
        shift = getattr(model.config, "shift_factor", None) or 0.0
        return (latents - shift) * (getattr(model.config, "scaling_factor", None) or 1.0)


def _loaded(model_class: Any, folder: Path) -> Any:
    try:
        with quiet():
            return model_class.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
    except Exception as error:
        raise DataError(f"{folder}: cannot be loaded: {type(error).__name__}: {error}") from error


def _transformer() -> Any:
    import transformers

    return transformers.PreTrainedModel


class _Denoiser:
    """How a batch of pictures becomes inputs of a denoiser."""

    def __init__(self, architecture: Architecture, pipeline: _Pipeline, where: str) -> None:
        self._architecture, self._pipeline, self._where = architecture, pipeline, where
        self._names = tuple(inputs_for(architecture, 2)[0])
        self._steps = [name for name in self._names if name in _STEP_NAMES]
        self._sample = inputs_for(architecture, 2)[0][self._names[0]]
        if not self._steps or self._sample.ndim != 4:
            raise DataError(
                f"{where}: takes {', '.join(self._names)}, which a folder of pictures does not "
                "give; use an .npz file of floats or py:module:callable"
            )
        if pipeline.autoencoder is None:
            self._require_channels(3)

    def tell(self) -> None:
        """Warn of inputs that nothing gives."""
        drawn = [
            name
            for name in self._names[1:]
            if name not in (*self._steps, _LABELS) and not self._encodes(name)
        ]
        if drawn:
            warnings.warn(
                f"{self._where}: no part of its pipeline gives {', '.join(drawn)} for a picture; "
                "what stands there is drawn at random, the same in every pass",
                ZooalignWarning,
                stacklevel=4,
            )

    def _encodes(self, name: str) -> bool:
        parts = ("text_encoder", "tokenizer")
        return (
            name == _TEXT
            and self._pipeline.part("text_encoder_2") is None
            and self._pipeline.part(parts[0]) is not None
            and self._pipeline.part(parts[1], file="tokenizer_config.json") is not None
        )

    def _require_channels(self, most: int) -> None:
        """Refuse a model of more channels than pictures have, or their latents."""
        if (wanted := self._sample.shape[1]) > most:
            raise DataError(
                f"{self._where}: takes {wanted} channels, and pictures give it {most}; its "
                "autoencoder is looked for beside it, in a pipeline's vae/"
            )

    @cached_property
    def _drawn(self) -> dict[str, Tensor]:
        """Values of inputs that no part of the pipeline gives, for as many pictures."""
        return inputs_for(self._architecture, _DRAWN)[0]

    @torch.no_grad()
    def batch(self, images: Tensor, classes: Tensor | None, first: int) -> DataBatch:
        """Inputs and the target of pictures in [-1, 1], from the ``first`` of all on."""
        latents = self._pipeline.latents(images)
        self._require_channels(latents.shape[1])
        noised, steps, target = self._noised(latents, first)
        rows = torch.arange(first, first + len(images)) % _DRAWN
        values = {name: drawn[rows] for name, drawn in self._drawn.items()}
        values[self._names[0]] = noised
        for name in self._steps:
            values[name] = steps.to(values[name].dtype)
        if _LABELS in values and classes is not None:
            values[_LABELS] = classes
        if _TEXT in values and self._encodes(_TEXT):
            values[_TEXT] = self._no_text(len(images))
        return tuple(values[name] for name in self._names), target

    def _noised(self, latents: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents with noise, the steps it is of, and what the model is to predict."""
        scheduler = self._pipeline.scheduler
        count = scheduler.config.num_train_timesteps
        # A picture's noise and step are its own, whatever the size of a batch is.
        generators = [torch.Generator().manual_seed(first + row) for row in range(len(latents))]
        noise = torch.stack([torch.randn(latents.shape[1:], generator=g) for g in generators])
        number = torch.cat([torch.randint(0, count, (1,), generator=g) for g in generators])
        if not hasattr(scheduler, "add_noise"):  # flow matching: a straight way to the noise
            share = ((number + 1) / count).view(-1, 1, 1, 1)
            steps = share.flatten() * (1 if self._steps_are_shares() else count)
            return (1 - share) * latents + share * noise, steps, noise - latents
        noised = scheduler.add_noise(latents, noise, number)
        kind = getattr(scheduler.config, "prediction_type", "epsilon")
        if kind == "v_prediction":
            return noised, number, scheduler.get_velocity(latents, noise, number)
        return noised, number, latents if kind == "sample" else noise

    def _steps_are_shares(self) -> bool:
        return inputs_for(self._architecture, 2)[0][self._steps[0]].is_floating_point()

    @cached_property
    def _empty_text(self) -> Tensor:
        """What the text encoder makes of no text."""
        import transformers

        encoder, folder = (
            self._pipeline.part("text_encoder"),
            self._pipeline.part("tokenizer", file="tokenizer_config.json"),
        )
        assert encoder is not None and folder is not None
        config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
        (name, *_) = config.get("architectures") or ["CLIPTextModel"]
        model_class = getattr(transformers, str(name), None)
        if not (isinstance(model_class, type) and issubclass(model_class, _transformer())):
            raise DataError(f"{encoder}: transformers has no model class {name!r}")
        model = _loaded(model_class, encoder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        length = min(tokenizer.model_max_length, 512)
        ids = tokenizer("", padding="max_length", max_length=length, return_tensors="pt").input_ids
        hidden: Tensor = model(ids)[0]
        return hidden

    def _no_text(self, count: int) -> Tensor:
        return self._empty_text.expand(count, -1, -1)


def picture_preprocess(architecture: Architecture, pipeline: _Pipeline) -> Preprocess:
    """Pictures cropped to a square and resized to what the model takes, scaled to [-1, 1]."""
    from PIL import Image, ImageOps

    where = f"diffusers:{architecture.name}"
    config = complete(class_named(architecture.name, where), architecture.config)
    size = config.get("sample_size") or 32
    side = size if isinstance(size, int) else size[-1]
    channels = int(config.get("in_channels") or 3)
    autoencoder = pipeline.autoencoder
    if autoencoder is not None and not entry_named(architecture.name, where).latents:
        side *= 2 ** (len(autoencoder.config.block_out_channels) - 1)
        channels = autoencoder.config.in_channels

    def spatial(image: Image.Image) -> Tensor:
        square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
        pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
        return pixels.reshape(side, side, -1).permute(2, 0, 1)

    return Preprocess(spatial, channels, (0.5,), (0.5,))
