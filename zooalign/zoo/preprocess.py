"""From an image to a model's input: resizing and cropping first, then normalisation."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zooalign.errors import DataError

__all__ = ["Preprocess", "to_unit_range"]

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

    def normalised_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> "Preprocess":
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
