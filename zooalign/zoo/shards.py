"""WebDataset shards: tar files of images with the classes beside them."""

import io
import re
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image
from torch import Tensor

from zooalign.errors import DataError
from zooalign.zoo.images import SUFFIXES, Preprocess

__all__ = ["Shards", "expand_braces", "open_shards"]

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand_braces(text: str) -> list[str]:
    """The names that ``train-{000..003}.tar`` stands for; a text without braces alone."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    first, last = int(match[1]), int(match[2])
    numbers = (str(n).zfill(len(match[1])) for n in range(first, last + 1))
    return [text[: match.start()] + number + text[match.end() :] for number in numbers]


@dataclass(frozen=True)
class Shards:
    """Images in tar files, in the order they stand there, with their classes if there are some."""

    images: tuple[tuple[Path, str], ...]
    targets: tuple[int, ...] | None

    def read(self, rows: slice, preprocess: Preprocess) -> Iterator[Tensor]:
        """Some images, preprocessed; DataError names one that cannot be read."""
        for path, group in groupby(self.images[rows], key=lambda image: image[0]):
            with tarfile.open(path) as tar:
                for _, name in group:
                    yield _image(path, name, tar, preprocess)


def _image(path: Path, name: str, tar: tarfile.TarFile, preprocess: Preprocess) -> Tensor:
    try:
        file = tar.extractfile(name)
        assert file is not None
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file.read())) as image:
                return preprocess(image)
    except (OSError, SyntaxError, ValueError, KeyError, tarfile.TarError, Warning) as error:
        raise DataError(f"{path}: {name} cannot be read as an image: {error}") from error


def open_shards(paths: Sequence[Path]) -> Shards:
    """List the images of tar files: ``KEY.jpg`` with ``KEY.cls``, the number of its class.

    Raises
    ------
    DataError
        A file is missing or no tar file, there are no images, or some have no class.
    """
    images: list[tuple[Path, str]] = []
    targets: list[int | None] = []
    for path in paths:
        try:
            with tarfile.open(path) as tar:
                classes = {
                    member.name.rpartition(".")[0]: _class_of(path, tar, member)
                    for member in tar
                    if member.isfile() and member.name.endswith(".cls")
                }
                names = [
                    member.name
                    for member in tar
                    if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES
                ]
        except (OSError, tarfile.TarError) as error:
            # A ReadError lists in several lines what each compression said.
            reason = str(error).partition(":\n")[0]
            raise DataError(f"{path}: cannot be read as a tar file: {reason}") from error
        images += [(path, name) for name in names]
        targets += [classes.get(name.rpartition(".")[0]) for name in names]
    if not images:
        raise DataError(f"{paths[0]}: holds no images ({', '.join(SUFFIXES)})")
    known = [target for target in targets if target is not None]
    if known and len(known) != len(targets):
        missing = images[targets.index(None)]
        raise DataError(f"{missing[0]}: {missing[1]} has no class (.cls), and others have one")
    return Shards(tuple(images), tuple(known) or None)


def _class_of(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = tar.extractfile(member)
    text = b"" if file is None else file.read(32)
    if not text.strip().isdigit():
        raise DataError(f"{path}: {member.name} is not the number of a class")
    return int(text)
