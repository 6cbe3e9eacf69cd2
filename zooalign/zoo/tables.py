"""Arrays ``x`` and ``y`` from files of rows: ``.csv``, ``.tsv``, ``.parquet`` and ``.jsonl``."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import DataError
from zooalign.zoo.lfs_pointers import refuse_pointer

__all__ = ["SUFFIXES", "arrays_of", "read_rows", "targets_of"]

_TARGETS = ("y", "label", "target", "class")
# By column, the values of all rows.
Columns = Mapping[str, Sequence[Any]]


def read_rows(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of a file.

    Parameters
    ----------
    target:
        The column of the targets; by default the one named y, label, target or class, if any. In a
        ``.jsonl`` file, the key.

    Returns
    -------
    ``x`` (rows, ...), float32 or integers where all numbers are; ``y``, integers (also the number
    of a text among the sorted ones) or floats, None without targets.

    Raises
    ------
    DataError
        The file cannot be read, has no such column, or values that are no numbers.
    """
    refuse_pointer(path, DataError)
    return arrays_of(path, _READERS[path.suffix.lower()](path), target)


def arrays_of(
    path: Path | str, columns: Columns, target: str | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """As :func:`read_rows`, of columns that were read; ``path`` is for messages."""
    if target is not None and target not in columns:
        raise DataError(f"{path}: has no column '{target}'; it has {', '.join(columns)}")
    target = target or next((name for name in _TARGETS if name in columns), None)
    features = {name: values for name, values in columns.items() if name != target}
    if not columns:
        raise DataError(f"{path}: holds no rows")
    if not features:
        raise DataError(f"{path}: has no column but the target '{target}'")
    x = _numbers(path, features)
    return x, None if target is None else targets_of(path, target, columns[target])


def _read_csv(path: Path) -> Columns:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file, delimiter=delimiter))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table with a header: {error}") from error
    if not lines:
        raise DataError(f"{path}: cannot be read as a table with a header: the file is empty")
    header, *rows = lines
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(
                f"{path}:{number}: has {len(row)} values, and the header {len(header)} names"
            )
    return dict(zip(header, zip(*rows, strict=True) if rows else [()] * len(header), strict=True))


def _read_jsonl(path: Path) -> Columns:
    columns: dict[str, list[Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: is not JSON: {error}") from error
        if not isinstance(row, dict) or (columns and row.keys() != columns.keys()):
            known = ", ".join(columns) or "such as x and y"
            raise DataError(f"{path}:{number}: is not an object with the keys {known}")
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def _read_parquet(path: Path) -> Columns:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise DataError(f"{path}: reading it needs pyarrow: pip install pyarrow") from error
    try:
        columns: Columns = read_table(path).to_pydict()
    except (OSError, ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from error
    return columns


def _numbers(path: Path | str, columns: Columns) -> np.ndarray:
    """All columns side by side; a single one of lists as it is."""
    arrays = []
    for name, values in columns.items():
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}: column '{name}' holds something else than numbers, or lists of several "
                f"lengths ({error}); a tokenizer's data is for a plugin of its library"
            ) from error
        arrays.append(array)
    joined = arrays[0]
    if len(arrays) > 1 or joined.ndim == 1:
        try:
            joined = np.stack(arrays, axis=1)
        except ValueError as error:
            raise DataError(
                f"{path}: the columns {', '.join(columns)} do not fit: {error}"
            ) from error
    first = next(iter(columns.values()))
    whole = len(arrays) == 1 and all(_is_whole(value) for value in first)
    return joined.astype(np.int64 if whole else np.float32)


def _is_whole(value: Any) -> bool:
    """Whether a value, or everything in a nested list, was written as an integer."""
    if isinstance(value, list):
        return bool(value) and all(_is_whole(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool)


def targets_of(path: Path | str, name: str, values: Sequence[Any]) -> np.ndarray:
    """Integers where all values are, other numbers as floats, texts by their sorted order.

    Raises
    ------
    DataError
        They are neither numbers nor texts; ``path`` and ``name`` say which in the message.
    """
    for kind in (np.int64, np.float64):
        try:
            array = np.asarray([str(v) for v in values] if _are_texts(values) else values)
            converted = array.astype(kind)
        except (TypeError, ValueError, OverflowError):
            continue
        if kind is np.float64 or np.array_equal(converted, np.asarray(array, dtype=np.float64)):
            return converted
    if not _are_texts(values):
        raise DataError(f"{path}: column '{name}' holds neither numbers nor texts")
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


_READERS: Mapping[str, Callable[[Path], Columns]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
