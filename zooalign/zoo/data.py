"""Calibration and evaluation data by name; documented in ``docs/references.md``."""

import dataclasses
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import DataError
from zooalign.zoo.images import ImageFolder, open_image_folder
from zooalign.zoo.imports import import_object, working_directory_importable
from zooalign.zoo.preprocess import Preprocess
from zooalign.zoo.query import options_to_json, parse_query

__all__ = ["Batch", "Batches", "open_data"]

Batch = tuple[tuple[Tensor, ...], Tensor | None]
_SLICE = re.compile(r"(\d*):(\d*)")


@dataclass(frozen=True)
class Batches:
    """Batches of ``(inputs, targets)``: a tuple of tensors, and integers (N,) or None.

    Iterating anew gives the same batches. ``rows`` is None where only iterating would tell.
    ``name`` is the text it was opened by.
    """

    name: str
    rows: int | None
    has_targets: bool | None
    make: Callable[[], Iterator[Batch]] = dataclasses.field(repr=False)

    def __iter__(self) -> Iterator[Batch]:
        return self.make()


def open_data(
    text: str,
    *,
    preprocess: Preprocess | None = None,
    batch_size: int = 64,
    limit: int | None = None,
) -> Batches:
    """Open an image folder, an ``.npz`` file or ``py:module:callable``.

    Parameters
    ----------
    text:
        The data, with options behind a ``?``: ``normalize`` and ``slice``.
    preprocess:
        Of the model; images need it.
    batch_size:
        Rows a batch; a callable's batches are taken as they come.
    limit:
        At most so many rows.

    Raises
    ------
    DataError
        The data is missing, empty, malformed, or does not fit the options.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise DataError(f"{text!r}: batch_size and limit must be at least 1")
    path, options = _split(text)
    unknown = sorted(set(options) - {"normalize", "slice"})
    if path.startswith("py:"):
        for name in ("normalize", "slice"):
            if name in options:
                raise DataError(f"{text!r}: {name} is not for py: data, which comes as it is")
        return _from_callable(text, path, options, limit)
    if unknown:
        raise DataError(f"{text!r}: unknown option {unknown[0]!r}; there are normalize and slice")
    start, stop = _slice(text, options.get("slice", ":"))
    normalize = options.get("normalize")
    if not Path(path).exists():
        raise DataError(
            f"{path}: there is no such file or directory; give an image folder, an .npz file with "
            "x and y, or py:module:callable"
        )
    if Path(path).is_dir():
        folder = open_image_folder(Path(path)).part(start, stop, limit)
        return _from_folder(
            text, folder, _image_preprocess(text, preprocess, normalize), batch_size
        )
    if path.lower().endswith(".npz"):
        x, y = _read_npz(Path(path))
        stop = min(stop if stop is not None else len(x), len(x))
        stop = min(stop, start + limit) if limit is not None else stop
        x, y = x[start:stop], None if y is None else y[start:stop]
        if len(x) == 0:
            raise DataError(f"{text!r}: no rows are left of it")
        return _from_arrays(text, x, y, preprocess, normalize, batch_size)
    raise DataError(f"{path}: is neither a directory nor an .npz file")


def _split(text: str) -> tuple[str, dict[str, Any]]:
    path, mark, query = text.partition("?")
    if not mark or Path(text).exists():
        return text, {}
    return path, options_to_json(parse_query(query, of=text, error=DataError))


def _slice(text: str, value: Any) -> tuple[int, int | None]:
    match = _SLICE.fullmatch(str(value))
    if not match:
        raise DataError(f"{text!r}: slice={value!r}; write slice=START:STOP, e.g. slice=0:1000")
    start = int(match[1] or 0)
    stop = int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise DataError(f"{text!r}: slice={value} is empty")
    return start, stop


def _normalised(text: str, base: Preprocess, normalize: Any) -> Preprocess:
    if normalize == "model":
        return base
    if normalize == "none":
        return base.normalised_by((0.0,), (1.0,))
    try:
        numbers = normalize if isinstance(normalize, list) else str(normalize).split(",")
        values = tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        values = ()
    half = len(values) // 2
    if not values or len(values) % 2 or any(value <= 0 for value in values[half:]):
        raise DataError(
            f"{text!r}: normalize={normalize!r}; write model, none, or the means and then the "
            "standard deviations, e.g. 0.5,0.25 or 0.49,0.48,0.45,0.25,0.24,0.26"
        )
    return base.normalised_by(values[:half], values[half:])


def _image_preprocess(text: str, preprocess: Preprocess | None, normalize: Any) -> Preprocess:
    if preprocess is None:
        raise DataError(f"{text!r}: images need the preprocessing of a model")
    return _normalised(text, preprocess, "model" if normalize is None else normalize)


def _from_folder(
    text: str, folder: ImageFolder, preprocess: Preprocess, batch_size: int
) -> Batches:
    def make() -> Iterator[Batch]:
        for part in _chunks(len(folder.files), batch_size):
            images = [folder.read(index, preprocess) for index in part]
            targets = (
                None
                if folder.targets is None
                else torch.tensor(folder.targets[part.start : part.stop])
            )
            yield (_stack(images, text),), targets

    return Batches(text, len(folder.files), folder.targets is not None, make)


def _chunks(rows: int, batch_size: int) -> Iterator[range]:
    for start in range(0, rows, batch_size):
        yield range(start, min(start + batch_size, rows))


def _stack(images: list[Tensor], text: str) -> Tensor:
    if len({image.shape for image in images}) > 1:
        sizes = sorted({tuple(image.shape[-2:]) for image in images})
        raise DataError(
            f"{text!r}: images of different sizes, e.g. {sizes[0]} and {sizes[-1]}, and the "
            "model's preprocessing does not resize; add ?input=CxHxW to a py: model"
        )
    return torch.stack(images)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if "x" not in content:
                keys = ", ".join(content.files) or "nothing"
                raise DataError(f"{path}: has no array 'x' (it has {keys})")
            x, y = content["x"], content.get("y")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(
            f"{path}: cannot be read as an .npz file without pickle: {error}"
        ) from error
    if x.ndim < 2 or len(x) == 0:
        raise DataError(f"{path}: x has shape {x.shape}; it must have rows, and at least two axes")
    if y is not None and (y.shape != (len(x),) or y.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: y must be integers of shape ({len(x)},) like the rows of x, it is {y.dtype} "
            f"{y.shape}"
        )
    return x, y


def _from_arrays(
    text: str,
    x: np.ndarray,
    y: np.ndarray | None,
    preprocess: Preprocess | None,
    normalize: Any,
    batch_size: int,
) -> Batches:
    targets = None if y is None else torch.from_numpy(y.astype(np.int64))
    convert = _converter(text, x, preprocess, normalize)

    def make() -> Iterator[Batch]:
        for part in _chunks(len(x), batch_size):
            rows = slice(part.start, part.stop)
            yield (convert(x[rows]),), None if targets is None else targets[rows]

    return Batches(text, len(x), y is not None, make)


def _converter(
    text: str, x: np.ndarray, preprocess: Preprocess | None, normalize: Any
) -> Callable[[np.ndarray], Tensor]:
    if x.dtype == np.uint8:
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3, 4)):
            raise DataError(
                f"{text!r}: x is uint8 of shape {x.shape}; images are (N, H, W) or (N, H, W, C) "
                "with 1, 3 or 4 channels"
            )
        images = _image_preprocess(text, preprocess, normalize)
        return lambda rows: _stack([images(row) for row in rows], text)
    if x.dtype.kind in "iu":
        if normalize is not None:
            raise DataError(f"{text!r}: x holds tokens ({x.dtype}), which are not normalised")
        return lambda rows: torch.from_numpy(rows.astype(np.int64))
    if x.dtype.kind != "f":
        raise DataError(f"{text!r}: x is {x.dtype}; it must be uint8, integers or floats")
    if normalize is None:
        return lambda rows: torch.from_numpy(rows.astype(np.float32))
    if x.ndim != 4:
        raise DataError(f"{text!r}: only (N, C, H, W) can be normalised, x is {x.shape}")
    if normalize == "model" and preprocess is None:
        raise DataError(f"{text!r}: normalize=model needs the preprocessing of a model")
    base = preprocess or Preprocess(lambda image: torch.empty(0))
    floats = _normalised(text, base, normalize)
    return lambda rows: floats.normalise(torch.from_numpy(rows.astype(np.float32)))


def _from_callable(text: str, path: str, options: dict[str, Any], limit: int | None) -> Batches:
    target = path.removeprefix("py:")
    if not re.fullmatch(r"[^:]+:[^:]+", target):
        raise DataError(f"{text!r}: write py:package.module:callable")
    function = import_object(target, DataError)

    def make() -> Iterator[Batch]:
        with working_directory_importable():
            try:
                batches = function(**options)
            except Exception as error:
                raise DataError(f"{text!r}: it failed: {type(error).__name__}: {error}") from error
        if not isinstance(batches, Iterable):
            raise DataError(f"{text!r}: returned {type(batches).__name__}, no iterable of batches")
        return _limited(text, batches, limit)

    return Batches(text, None, None, make)


def _limited(text: str, batches: Iterable[Any], limit: int | None) -> Iterator[Batch]:
    left = limit
    count = 0
    for batch in batches:
        inputs, targets = _as_batch(text, batch)
        if left is not None:
            inputs = tuple(item[:left] for item in inputs)
            targets = None if targets is None else targets[:left]
            left -= len(inputs[0])
        count += len(inputs[0])
        yield inputs, targets
        if left == 0:
            return
    if count == 0:
        raise DataError(f"{text!r}: gave no rows")


def _as_batch(text: str, batch: Any) -> Batch:
    targets: Any = None
    inputs = batch
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        inputs, targets = batch
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    tensors = [*inputs, *([] if targets is None else [targets])]
    if not inputs or not all(isinstance(item, Tensor) and item.ndim for item in tensors):
        raise DataError(
            f"{text!r}: a batch must be a tensor, or (x, y) of tensors where x may be a tuple of "
            f"tensors; it is {type(batch).__name__}"
        )
    if len({len(item) for item in tensors}) != 1:
        raise DataError(f"{text!r}: the tensors of a batch differ in their number of rows")
    return inputs, targets
