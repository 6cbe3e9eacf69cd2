"""Folders of images, one subfolder a class or none."""

import dataclasses
import itertools
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zooalign.errors import DataError
from zooalign.zoo.preprocess import Preprocess

__all__ = ["ImageFolder", "open_image_folder"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class ImageFolder:
    """Image files in a fixed order, with the index of each one's class if there are classes."""

    path: Path
    files: tuple[Path, ...]
    targets: tuple[int, ...] | None
    classes: tuple[str, ...] = ()

    def part(self, start: int, stop: int | None, limit: int | None) -> "ImageFolder":
        """Files ``start`` to ``stop``, at most ``limit``; DataError if none is left."""
        end = len(self.files) if stop is None else stop
        if limit is not None:
            end = min(end, start + limit)
        if not self.files[start:end]:
            raise DataError(f"{self.path}: has {len(self.files)} images, none from {start} on")
        targets = None if self.targets is None else self.targets[start:end]
        return dataclasses.replace(self, files=self.files[start:end], targets=targets)

    def read(self, index: int, preprocess: Preprocess) -> Tensor:
        """Image ``index``, preprocessed; DataError names a file that is no image."""
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
    """List ``path``. Classes are its subfolders by sorted name; their images take turns.

    So the first rows of any number hold every class alike. Hidden files are passed over.

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
