"""Folders of images, one subfolder a class or none."""

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zooalign.errors import DataError

__all__ = ["ImageFolder", "Preprocess", "open_image_folder", "to_unit_range"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocess:
    """``((spatial(image) / 255) - mean) / std`` as float32 (C, H, W).

    ``spatial`` resizes and crops a PIL image of ``channels`` channels and returns a uint8 tensor
    (C, H, W). ``mean`` and ``std`` are in units of [0, 1], one value or one per channel.
    """

    spatial: Callable[[Image.Image], Tensor]
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        """``image`` is a PIL image or uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
        mode = _MODES.get(self.channels)
        if mode is None:
            raise DataError(
                f"the model takes {self.channels} channels, which no image has; give float "
                "arrays of shape (N, C, H, W) or py:module:callable as data"
            )
        if isinstance(image, np.ndarray):
            image = _to_image(image)
        return self.normalise(self.spatial(image.convert(mode)).float() / 255)

    def normalise(self, values: Tensor) -> Tensor:
        """``(values - mean) / std`` for values in [0, 1] of shape (..., C, H, W)."""
        channels = values.shape[-3]
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise DataError(f"{name} has {len(numbers)} values for {channels} channels")
        mean = torch.tensor(self.mean, dtype=values.dtype).view(-1, 1, 1)
        std = torch.tensor(self.std, dtype=values.dtype).view(-1, 1, 1)
        return (values - mean) / std

    def normalised_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """The same resizing and cropping with another normalisation."""
        return dataclasses.replace(self, mean=mean, std=std)


def to_unit_range(channels: int = 3, size: tuple[int, int] | None = None) -> Preprocess:
    """Preprocessing without normalisation, resized (bilinear, antialiased) if ``size`` (H, W)."""

    def spatial(image: Image.Image) -> Tensor:
        if size is not None and image.size != (size[1], size[0]):
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        array = np.array(image)
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)

    return Preprocess(spatial, channels)


def _to_image(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DataError(
            f"an image must be uint8 of shape (H, W) or (H, W, C), this is {array.dtype} "
            f"{array.shape}"
        )
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        raise DataError(f"an image has 1, 3 or 4 channels in its last axis, this is {array.shape}")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


@dataclass(frozen=True)
class ImageFolder:
    """Image files in a fixed order, with the index of each one's class if there are classes."""

    path: Path
    files: tuple[Path, ...]
    targets: tuple[int, ...] | None
    classes: tuple[str, ...] = ()

    def part(self, start: int, stop: int | None) -> Self:
        """Files ``start`` to ``stop``; DataError if none is left."""
        files = self.files[start:stop]
        if not files:
            raise DataError(f"{self.path}: has {len(self.files)} images, none from {start} on")
        targets = None if self.targets is None else self.targets[start:stop]
        return dataclasses.replace(self, files=files, targets=targets)

    def read(self, index: int, preprocess: Preprocess) -> Tensor:
        """Image ``index``, preprocessed; DataError names a file that is not an image."""
        path = self.files[index]
        try:
            with warnings.catch_warnings():
                # An image that would unpack to gigabytes is an error here, not a warning.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    return preprocess(image)
        except (
            OSError,
            SyntaxError,
            ValueError,
            UnidentifiedImageError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise DataError(f"{path}: cannot be read as an image: {error}") from error


def open_image_folder(path: Path) -> ImageFolder:
    """List ``path``. Classes are its subfolders by sorted name; their images alternate.

    So every class is as frequent in the first rows as in all of them. Hidden files are ignored.

    Raises
    ------
    DataError
        There are no images, a class has none, or images lie beside class folders.
    """
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    flat = [entry for entry in entries if _is_image(entry)]
    if not folders:
        if not flat:
            raise DataError(f"{path}: holds no images ({', '.join(SUFFIXES)})")
        return ImageFolder(path, tuple(flat), None)
    if flat:
        raise DataError(f"{path}: holds both images ({flat[0].name}) and folders; use one form")
    by_class: list[list[tuple[Path, int]]] = []
    for folder in folders:
        images = [entry for entry in sorted(folder.iterdir()) if _is_image(entry)]
        if not images:
            raise DataError(f"{folder}: a class folder without images ({', '.join(SUFFIXES)})")
        by_class.append([(image, len(by_class)) for image in images])
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_class))
    pairs = [pair for pair in turns if pair is not None]
    return ImageFolder(
        path,
        tuple(image for image, _ in pairs),
        tuple(target for _, target in pairs),
        tuple(folder.name for folder in folders),
    )


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
