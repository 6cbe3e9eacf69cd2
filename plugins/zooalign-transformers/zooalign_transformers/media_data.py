"""Folders of images or of ``.wav`` files, through the model's own processor."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from zooalign.plugins import (
    Architecture,
    Batches,
    DataBatch,
    DataError,
    DataReference,
    Preprocess,
    image_batches,
)

from zooalign_transformers.building import inputs_for
from zooalign_transformers.processors import own_processor
from zooalign_transformers.quiet import quiet

__all__ = ["open_media"]

_SOUND = ("input_features", "input_values")


def open_media(
    architecture: Architecture,
    directory: Path | None,
    reference: DataReference,
    *,
    batch_size: int,
    limit: int | None,
) -> Batches:
    """Open a folder of images, or of sounds where the model takes sound.

    Subfolders are classes, as for any image folder. Sounds are all cut to the shortest one's
    length, so that none is padded. ``directory`` has the files of the model's processor.

    Raises
    ------
    DataError
        The model has no processor, or takes something else besides.
    """
    reference.require_options("processor", "slice")
    names = list(inputs_for(architecture, 2)[0])
    if len(names) != 1 or names[0] not in ("pixel_values", *_SOUND):
        raise DataError(
            f"{reference.text!r}: transformers:{architecture.name} takes {', '.join(names)}, which "
            "a folder does not give; use py:module:callable"
        )
    if names[0] in _SOUND:
        extractor = own_processor("AutoFeatureExtractor", "processor", reference, directory)
        return _sounds(reference, extractor, names[0], batch_size, limit)
    processor = own_processor("AutoImageProcessor", "processor", reference, directory)
    return image_batches(reference, _Processed(processor), batch_size=batch_size, limit=limit)


class _Processed(Preprocess):
    """An image processor in the place of resizing, cropping and normalisation."""

    def __init__(self, processor: Any) -> None:
        super().__init__(lambda image: torch.empty(0))
        object.__setattr__(self, "_processor", processor)

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        given = image if isinstance(image, Image.Image) else Image.fromarray(image)
        with quiet():
            inputs = self.__dict__["_processor"](images=given.convert("RGB"), return_tensors="pt")
        pixels: Tensor = inputs["pixel_values"][0]
        return pixels


def _sounds(
    reference: DataReference, extractor: Any, name: str, batch_size: int, limit: int | None
) -> Batches:
    files = sorted(p for p in Path(reference.path).iterdir() if p.suffix.lower() == ".wav")
    files = files[slice(*reference.rows(limit))]
    if not files:
        raise DataError(f"{reference.text!r}: holds no .wav files")
    rate = int(getattr(extractor, "sampling_rate", 16000))
    shortest = min(_frames(file, rate) for file in files)

    def make() -> Iterator[DataBatch]:
        for low in range(0, len(files), batch_size):
            waves = [_wave(file, shortest) for file in files[low : low + batch_size]]
            with quiet():
                features = extractor(waves, sampling_rate=rate, return_tensors="pt")
            yield (features[name],), None

    return Batches(reference.text, len(files), False, make)


@contextmanager
def _open_wave(file: Path) -> Iterator[wave.Wave_read]:
    try:
        with wave.open(str(file), "rb") as sound:
            if sound.getsampwidth() != 2:
                raise DataError(f"{file}: {8 * sound.getsampwidth()} bits a sample; 16 are read")
            yield sound
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{file}: cannot be read as a .wav file: {error}") from error


def _frames(file: Path, rate: int) -> int:
    with _open_wave(file) as sound:
        if sound.getframerate() != rate:
            raise DataError(
                f"{file}: {sound.getframerate()} samples a second, and the model takes {rate}: "
                "resample it first"
            )
        return sound.getnframes()


def _wave(file: Path, frames: int) -> np.ndarray:
    """The mean of the channels, in -1 to 1."""
    with _open_wave(file) as sound:
        values = np.frombuffer(sound.readframes(frames), dtype="<i2").astype(np.float32)
        mean: np.ndarray = values.reshape(-1, sound.getnchannels()).mean(1) / 2**15
        return mean
