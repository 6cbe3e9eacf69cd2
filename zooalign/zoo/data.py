"""Calibration and evaluation data by name; documented in ``docs/references.md``."""

import dataclasses
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import DataError
from zooalign.zoo import hf_datasets, shards, tables
from zooalign.zoo.images import Preprocess, open_image_folder
from zooalign.zoo.lfs_pointers import refuse_pointer
from zooalign.zoo.references import (
    import_object,
    options_to_json,
    parse_query,
    working_directory_importable,
)

__all__ = [
    "Batches",
    "DataBatch",
    "DataReference",
    "image_batches",
    "open_data",
    "share_rows",
]

DataBatch = tuple[tuple[Tensor, ...], Tensor | None]
_FORMS = (
    "an image folder, .tar shards of images, an .npz file with x and y, a .csv, .tsv, .parquet or "
    ".jsonl file of numbers, datasets:NAME?split=train, or py:module:callable"
)
_SLICE = re.compile(r"(\d*):(\d*)")


@dataclass(frozen=True)
class Batches:
    """Batches of ``(inputs, targets)``: a tuple of tensors, and a tensor with N rows or None.

    Iterating anew gives the same batches. ``rows`` is None where only iterating would tell.
    ``name`` is the text it was opened by.
    """

    name: str
    rows: int | None
    has_targets: bool | None
    make: Callable[[], Iterator[DataBatch]] = dataclasses.field(repr=False)

    def __iter__(self) -> Iterator[DataBatch]:
        return self.make()


@dataclass(frozen=True)
class DataReference:
    """Data by name, parsed: a path or ``py:`` callable, and the options behind its ``?``.

    ``text`` is the whole as the user wrote it, for messages.
    """

    text: str
    path: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split the options from the path; a file whose name holds a ``?`` is taken as it is."""
        path, mark, query = text.partition("?")
        if not mark or Path(text).exists():
            return cls(text, text, {})
        return cls(text, path, options_to_json(parse_query(query, of=text, error=DataError)))

    def require_options(self, *known: str) -> None:
        """Raise DataError if there is an option that is not ``known``."""
        for name in sorted(set(self.options) - set(known)):
            raise DataError(
                f"{self.text!r}: unknown option {name!r}; there are {', '.join(sorted(known))}"
            )

    def rows(self, limit: int | None) -> tuple[int, int | None]:
        """The first row to take, and the one after the last: by ``slice=``, at most ``limit``."""
        value = self.options.get("slice", ":")
        match = _SLICE.fullmatch(str(value))
        if not match:
            raise DataError(
                f"{self.text!r}: slice={value!r}; write slice=START:STOP, e.g. slice=0:1000"
            )
        start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
        if stop is not None and stop <= start:
            raise DataError(f"{self.text!r}: slice={value} is empty")
        if limit is not None:
            stop = start + limit if stop is None else min(stop, start + limit)
        return start, stop


def share_rows(one: str, other: str) -> bool:
    """Whether two names of data stand for some rows of one file, folder or callable."""
    first, second = DataReference.parse(one), DataReference.parse(other)
    if first.path.startswith("py:") or second.path.startswith("py:"):
        return first == second or one == other
    if any(first.options.get(name) != second.options.get(name) for name in hf_datasets.OPTIONS):
        return False
    if Path(first.path).resolve() != Path(second.path).resolve():
        return False
    (start, stop), (begin, end) = first.rows(None), second.rows(None)
    return (end is None or start < end) and (stop is None or begin < stop)


def open_data(
    text: str,
    *,
    preprocess: Preprocess | None = None,
    batch_size: int = 64,
    limit: int | None = None,
) -> Batches:
    """Open a folder or shards of images, a file of rows, ``datasets:`` or ``py:``.

    Parameters
    ----------
    text:
        The data, with options behind a ``?``: ``normalize``, ``slice``, ``target`` of a table, and
        those of a data set.
    preprocess:
        Of the model; images need it.
    batch_size:
        DataBatch size; a callable's batches are taken as they come.
    limit:
        Maximum number of rows.

    Raises
    ------
    DataError
        The data is missing, empty, malformed, or does not fit the options.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise DataError(f"{text!r}: batch_size and limit must be at least 1")
    reference = DataReference.parse(text)
    if reference.path.startswith("py:"):
        return _from_callable(reference, limit)
    if reference.path.startswith(hf_datasets.PREFIX):
        return _dataset_batches(reference, preprocess, batch_size=batch_size, limit=limit)
    suffix = Path(reference.path).suffix.lower()
    table = suffix in tables.SUFFIXES
    reference.require_options("normalize", "slice", *(["target"] if table else []))
    normalize = reference.options.get("normalize")
    if suffix == ".tar":
        images = _image_preprocess(text, preprocess, normalize)
        return _shard_batches(reference, images, batch_size=batch_size, limit=limit)
    path = Path(reference.path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or directory{_near(path)}; give {_FORMS}")
    if path.is_dir():
        images = _image_preprocess(text, preprocess, normalize)
        return image_batches(reference, images, batch_size=batch_size, limit=limit)
    if suffix == ".npz":
        x, y = _read_npz(path)
    elif table:
        x, y = tables.read_rows(path, _text_option(reference, "target"))
    else:
        raise DataError(f"{path}: is none of the kinds of data there are; give {_FORMS}")
    rows = slice(*reference.rows(limit))
    y = None if y is None else y[rows]
    return _array_batches(reference, (x[rows], y), preprocess, batch_size=batch_size)


def _text_option(reference: DataReference, name: str) -> str | None:
    value = reference.options.get(name)
    return None if value is None else str(value)


def _array_batches(
    reference: DataReference,
    arrays: tuple[np.ndarray, np.ndarray | None],
    preprocess: Preprocess | None,
    *,
    batch_size: int,
) -> Batches:
    x, y = arrays
    if len(x) == 0:
        raise DataError(f"{reference.text!r}: no rows are left of it")
    convert = _converter(reference.text, x, preprocess, reference.options.get("normalize"))
    targets = None if y is None else _targets(y)

    def batches() -> Iterator[DataBatch]:
        for part in _chunks(len(x), batch_size):
            yield (convert(x[part]),), None if targets is None else targets[part]

    return Batches(reference.text, len(x), targets is not None, batches)


def _dataset_batches(
    reference: DataReference, preprocess: Preprocess | None, *, batch_size: int, limit: int | None
) -> Batches:
    """The rows of a data set: its images, or else its columns of numbers as those of a table."""
    reference.require_options("column", "normalize", "slice", "target", *hf_datasets.OPTIONS)
    whole = hf_datasets.open_dataset(reference.text, reference.path, reference.options)
    dataset = whole.part(*reference.rows(limit))
    target = dataset.target(_text_option(reference, "target"))
    named = _text_option(reference, "column")
    wanted = [name for name in dataset.kinds if name != target]
    if named is not None:
        wanted = [dataset.named("column", name) for name in named.split(",")]
    column = next((name for name in wanted if dataset.kinds[name] == "image"), None)
    if column is None:
        names = [*wanted, *([] if target is None else [target])]
        columns = {name: list(dataset.column(name)) for name in names}
        arrays = tables.arrays_of(reference.text, columns, target)
        return _array_batches(reference, arrays, preprocess, batch_size=batch_size)
    images = _image_preprocess(reference.text, preprocess, reference.options.get("normalize"))
    targets = None
    if target is not None:
        values = list(dataset.column(target))
        targets = _targets(tables.targets_of(reference.text, target, values))

    def batches() -> Iterator[DataBatch]:
        for rows in _chunks(len(dataset), batch_size):
            stacked = _stack([images(x) for x in dataset.values(column, rows)], reference.text)
            yield (stacked,), None if targets is None else targets[rows]

    return Batches(reference.text, len(dataset), target is not None, batches)


def _shard_batches(
    reference: DataReference, preprocess: Preprocess, *, batch_size: int, limit: int | None
) -> Batches:
    """The images of WebDataset shards; ``{000..003}`` in the name stands for several."""
    all_shards = shards.open_shards([Path(p) for p in shards.expand_braces(reference.path)])
    rows = slice(*reference.rows(limit))
    targets = None if all_shards.targets is None else all_shards.targets[rows]
    chosen = shards.Shards(all_shards.images[rows], targets)
    if not chosen.images:
        raise DataError(f"{reference.text!r}: no rows are left of it")

    def batches() -> Iterator[DataBatch]:
        for part in _chunks(len(chosen.images), batch_size):
            images = list(chosen.read(part, preprocess))
            of_part = None if targets is None else torch.tensor(targets[part])
            yield (_stack(images, reference.text),), of_part

    return Batches(reference.text, len(chosen.images), targets is not None, batches)


def image_batches(
    reference: DataReference, preprocess: Preprocess, *, batch_size: int, limit: int | None
) -> Batches:
    """The images of a folder, with the classes that its subfolders name, or of a data set.

    Raises
    ------
    DataError
        There are no images, or what ``preprocess`` gives differs in size.
    """
    if reference.path.startswith(hf_datasets.PREFIX):
        return _dataset_batches(reference, preprocess, batch_size=batch_size, limit=limit)
    folder = open_image_folder(Path(reference.path)).part(*reference.rows(limit))

    def batches() -> Iterator[DataBatch]:
        for rows in _chunks(len(folder.files), batch_size):
            images = [folder.read(index, preprocess) for index in range(rows.start, rows.stop)]
            targets = None if folder.targets is None else torch.tensor(folder.targets[rows])
            yield (_stack(images, reference.text),), targets

    return Batches(reference.text, len(folder.files), folder.targets is not None, batches)


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


def _chunks(rows: int, batch_size: int) -> Iterator[slice]:
    for start in range(0, rows, batch_size):
        yield slice(start, min(start + batch_size, rows))


def _stack(images: list[Tensor], text: str) -> Tensor:
    if len({image.shape for image in images}) > 1:
        sizes = sorted({tuple(image.shape[-2:]) for image in images})
        raise DataError(
            f"{text!r}: images of different sizes, e.g. {sizes[0]} and {sizes[-1]}, and the "
            "model's preprocessing does not resize; add ?input=CxHxW to a py: model"
        )
    return torch.stack(images)


def _near(path: Path) -> str:
    """What stands beside a path that is not there, under a name that is near."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=2, cutoff=0.7)
    meant = " or ".join(str(path.with_name(name)) for name in close)
    return f" (did you mean {meant}?)" if meant else ""


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    refuse_pointer(path, DataError)
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: cannot be read as an .npz file; numpy.savez(file, x=..., y=...) writes one"
        )
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
    if y is not None and (y.shape[:1] != (len(x),) or y.dtype.kind not in "iuf"):
        raise DataError(
            f"{path}: y must be integers (classes) or floats, one or more for each of the {len(x)} "
            f"rows of x; it is {y.dtype} of shape {y.shape}"
        )
    return x, y


def _targets(y: np.ndarray) -> Tensor:
    """Class numbers as int64, one a row or one a position; other numbers as float32."""
    return torch.from_numpy(y.astype(np.float32 if y.dtype.kind == "f" else np.int64))


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


def _from_callable(reference: DataReference, limit: int | None) -> Batches:
    text, target = reference.text, reference.path.removeprefix("py:")
    if not re.fullmatch(r"[^:]+:[^:]+", target):
        raise DataError(f"{text!r}: write py:package.module:callable")
    for name in ("normalize", "slice"):
        if name in reference.options:
            raise DataError(f"{text!r}: {name} is not for py: data, which comes as it is")
    function = import_object(target, DataError)

    def read() -> Iterator[DataBatch]:
        with working_directory_importable():
            try:
                batches = function(**reference.options)
            except Exception as error:
                raise DataError(f"{text!r}: it failed: {type(error).__name__}: {error}") from error
        if not isinstance(batches, Iterable):
            raise DataError(
                f"{text!r}: returned {type(batches).__name__}, not an iterable of batches"
            )
        return _limited(text, batches, limit)

    return Batches(text, None, None, read)


def _limited(text: str, batches: Iterable[Any], limit: int | None) -> Iterator[DataBatch]:
    count = 0
    for batch in batches:
        inputs, targets = _as_batch(text, batch)
        rows = slice(None if limit is None else limit - count)
        inputs = tuple(item[rows] for item in inputs)
        count += len(inputs[0])
        yield inputs, None if targets is None else targets[rows]
        if count == limit:
            return
    if count == 0:
        raise DataError(f"{text!r}: gave no rows")


def _as_batch(text: str, batch: Any) -> DataBatch:
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
