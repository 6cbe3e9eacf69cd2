"""Images and ``.wav`` sounds of folders and data sets, through the model's own processor."""

import io
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    open_dataset,
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
    """Open a folder or data set of images, or of sounds where the model takes sound.

    Subfolders are classes, as for any image folder. Sounds are all cut to the shortest one's
    length, so that none is padded. ``directory`` has the files of the model's processor.

    Raises
    ------
    DataError
        The model has no processor, or takes something else besides.
    """
    of_dataset = reference.path.startswith("datasets:")
    which = ("column", "config", "revision", "split", "target") if of_dataset else ()
    reference.require_options("processor", "slice", *which)
    names = list(inputs_for(architecture, 2)[0])
    if len(names) != 1 or names[0] not in ("pixel_values", *_SOUND):
        raise DataError(
            f"{reference.text!r}: transformers:{architecture.name} takes {', '.join(names)}, which "
            "images and sounds do not give; use py:module:callable"
        )
    if names[0] in _SOUND:
        extractor = own_processor("AutoFeatureExtractor", "processor", reference, directory)
        clips = _dataset_clips(reference) if of_dataset else _folder_clips(reference)
        clips = clips[slice(*reference.rows(limit))]
        return _sounds(reference, clips, extractor, names[0], batch_size)
    processor = own_processor("AutoImageProcessor", "processor", reference, directory)
    own = {key: value for key, value in reference.options.items() if key != "processor"}
    reference = DataReference(reference.text, reference.path, own)
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


@dataclass(frozen=True)
class _Clip:
    """A sound in a file, or in ``content``; ``name`` is for messages."""

    name: str
    content: bytes | None = None


def _folder_clips(reference: DataReference) -> list[_Clip]:
    files = sorted(p for p in Path(reference.path).iterdir() if p.suffix.lower() == ".wav")
    return [_Clip(str(file)) for file in files]


def _dataset_clips(reference: DataReference) -> list[_Clip]:
    dataset = open_dataset(reference.text, reference.path, reference.options)
    named = reference.options.get("column")
    column = dataset.first_of("sound") if named is None else dataset.named("column", str(named))
    if column is None or dataset.kinds[column] != "sound":
        raise DataError(f"{reference.text!r}: has no column of sounds, which the model takes")
    return [
        _Clip(value["path"] or f"{reference.text}, row {number}", value["bytes"])
        for number, value in enumerate(dataset.column(column))
    ]


def _sounds(
    reference: DataReference, clips: Sequence[_Clip], extractor: Any, name: str, batch_size: int
) -> Batches:
    if not clips:
        raise DataError(f"{reference.text!r}: holds no .wav files")
    rate = int(getattr(extractor, "sampling_rate", 16000))
    shortest = min(_frames(clip, rate) for clip in clips)

    def make() -> Iterator[DataBatch]:
        for low in range(0, len(clips), batch_size):
            waves = [_wave(clip, shortest) for clip in clips[low : low + batch_size]]
            with quiet():
                features = extractor(waves, sampling_rate=rate, return_tensors="pt")
            yield (features[name],), None

    return Batches(reference.text, len(clips), False, make)


@contextmanager
def _open_wave(clip: _Clip) -> Iterator[wave.Wave_read]:
    source = clip.name if clip.content is None else io.BytesIO(clip.content)
    try:
        with wave.open(source, "rb") as sound:
            if sound.getsampwidth() != 2:
                raise DataError(
                    f"{clip.name}: {8 * sound.getsampwidth()} bits a sample; 16 are read"
                )
            yield sound
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{clip.name}: cannot be read as a .wav file: {error}") from error


def _frames(clip: _Clip, rate: int) -> int:
    with _open_wave(clip) as sound:
        if sound.getframerate() != rate:
            raise DataError(
                f"{clip.name}: {sound.getframerate()} samples a second, and the model takes "
                f"{rate}: resample it first"
            )
        return sound.getnframes()


def _wave(clip: _Clip, frames: int) -> np.ndarray:
    """The mean of the channels, in -1 to 1."""
    with _open_wave(clip) as sound:
        values = np.frombuffer(sound.readframes(frames), dtype="<i2").astype(np.float32)
        mean: np.ndarray = values.reshape(-1, sound.getnchannels()).mean(1) / 2**15
        return mean
