"""Folders of images or of ``.wav`` files, through the model's own processor."""

import wave
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from zooalign.plugins import Architecture, Batch, Batches, DataError, Preprocess, open_image_folder

from zooalign_transformers.building import inputs_for
from zooalign_transformers.quiet import quiet

__all__ = ["OPTIONS", "open_media"]

OPTIONS = {"processor", "slice"}
_SOUND = ("input_features", "input_values")


def open_media(
    architecture: Architecture,
    directory: Path | None,
    text: str,
    path: Path,
    options: Mapping[str, Any],
    bounds: tuple[int, int | None],
    *,
    batch_size: int,
    limit: int | None,
) -> Batches:
    """Open a folder of images, or of sounds where the model takes sound.

    Subfolders are classes, as for any image folder. Sounds are all cut to the shortest one's
    length, so that none is padded.

    Raises
    ------
    DataError
        The model has no processor, or takes something else besides.
    """
    names, _ = inputs_for(architecture, 2)
    if len(names) != 1 or next(iter(names)) not in ("pixel_values", *_SOUND):
        raise DataError(
            f"{text!r}: transformers:{architecture.name} takes {', '.join(names)}, which a folder "
            "does not give; use py:module:callable"
        )
    name = next(iter(names))
    where = Path(str(options["processor"])) if "processor" in options else directory
    if where is None:
        raise DataError(f"{text!r}: the model has no processor; name one with processor=DIRECTORY")
    processor = _processor(text, where, name)
    if name in _SOUND:
        return _sounds(text, path, processor, name, bounds, batch_size, limit)
    return _images(text, path, processor, bounds, batch_size, limit)


def _processor(text: str, where: Path, name: str) -> Any:
    import transformers

    kind = "AutoFeatureExtractor" if name in _SOUND else "AutoImageProcessor"
    try:
        with quiet():
            return getattr(transformers, kind).from_pretrained(str(where), local_files_only=True)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            f"{text!r}: transformers reads no processor from {where}: {type(error).__name__}: "
            f"{line}"
        ) from error


class _Processed(Preprocess):
    """An image processor in the place of resizing, cropping and normalisation."""

    def __init__(self, processor: Any) -> None:
        super().__init__(lambda image: torch.empty(0))
        object.__setattr__(self, "_processor", processor)

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        given = image if isinstance(image, Image.Image) else Image.fromarray(image)
        with quiet():
            made = self.__dict__["_processor"](images=given.convert("RGB"), return_tensors="pt")
        found: Tensor = made["pixel_values"][0]
        return found


def _images(
    text: str,
    path: Path,
    processor: Any,
    bounds: tuple[int, int | None],
    size: int,
    limit: int | None,
) -> Batches:
    folder = open_image_folder(path).part(*bounds, limit)
    preprocess = _Processed(processor)

    def make() -> Iterator[Batch]:
        for low in range(0, len(folder.files), size):
            numbers = range(low, min(low + size, len(folder.files)))
            images = [folder.read(number, preprocess) for number in numbers]
            if len({image.shape for image in images}) > 1:
                raise DataError(f"{text!r}: the processor makes images of several sizes")
            targets = None
            if folder.targets is not None:
                targets = torch.tensor([folder.targets[number] for number in numbers])
            yield (torch.stack(images),), targets

    return Batches(text, len(folder.files), folder.targets is not None, make)


def _sounds(
    text: str,
    path: Path,
    processor: Any,
    name: str,
    bounds: tuple[int, int | None],
    size: int,
    limit: int | None,
) -> Batches:
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".wav")
    files = files[bounds[0] : bounds[1]][:limit]
    if not files:
        raise DataError(f"{text!r}: holds no .wav files")
    rate = int(getattr(processor, "sampling_rate", 16000))
    shortest = min(_frames(file, rate) for file in files)

    def make() -> Iterator[Batch]:
        for low in range(0, len(files), size):
            waves = [_wave(file, shortest) for file in files[low : low + size]]
            with quiet():
                made = processor(waves, sampling_rate=rate, return_tensors="pt")
            yield (made[name],), None

    return Batches(text, len(files), False, make)


def _opened(file: Path, read: Callable[[wave.Wave_read], Any]) -> Any:
    try:
        with wave.open(str(file), "rb") as sound:
            if sound.getsampwidth() != 2:
                raise DataError(f"{file}: {8 * sound.getsampwidth()} bits a sample; 16 are read")
            return read(sound)
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{file}: cannot be read as a .wav file: {error}") from error


def _frames(file: Path, rate: int) -> int:
    def read(sound: wave.Wave_read) -> int:
        if sound.getframerate() != rate:
            raise DataError(
                f"{file}: {sound.getframerate()} samples a second, and the model takes {rate}: "
                "resample it first"
            )
        return sound.getnframes()

    found: int = _opened(file, read)
    return found


def _wave(file: Path, frames: int) -> np.ndarray:
    """The mean of the channels, in -1 to 1."""

    def read(sound: wave.Wave_read) -> np.ndarray:
        values = np.frombuffer(sound.readframes(frames), dtype="<i2").astype(np.float32)
        return values.reshape(-1, sound.getnchannels()).mean(1) / 2**15

    found: np.ndarray = _opened(file, read)
    return found
