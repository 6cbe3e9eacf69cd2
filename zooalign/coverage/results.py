"""The file of a sweep: JSON lines, appended whole and synced, read again to continue.

The last line of a reference counts. :meth:`Results.tidy` leaves one line each.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from zooalign.coverage.rows import Row
from zooalign.errors import DataError
from zooalign.zoo.files import atomic_write

__all__ = ["Results", "StoredResults", "read_results"]


_DECODER = msgspec.json.Decoder(Row)


def read_results(path: Path | str) -> dict[str, Row]:
    """All rows of a file by their reference; a last line that was cut off is left out.

    Raises
    ------
    DataError
        If the file cannot be read or is not a file of a sweep.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    return dict(_rows(content, path))


def _rows(content: bytes, path: Path | str) -> Iterator[tuple[str, Row]]:
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}, line {number}: not a line of a coverage sweep: {error}; name another file"
            ) from error
        yield row["reference"], row


class StoredResults:
    """A sweep's file as it stands, empty where there is none; nothing is written to it.

    Raises
    ------
    DataError
        If the file holds something else.
    """

    def __init__(self, path: Path | str) -> None:
        self.rows = read_results(path) if Path(path).exists() else {}

    def add(self, row: Row) -> None:
        """Keep a row in memory."""
        self.rows[row["reference"]] = row


class Results:
    """A sweep's file, open to append to. Use as a context manager; one process at a time.

    Raises
    ------
    DataError
        If the file holds something else, is in use, or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._file: BinaryIO = self.path.open("a+b")
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise DataError(f"{path}: another sweep is writing to it") from error
        try:
            self.rows = self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> dict[str, Row]:
        self._file.seek(0)
        content = self._file.read()
        rows = dict(_rows(content, self.path))
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            if not rows and content[:1] != b"{":
                raise DataError(f"{self.path}: not a file of a coverage sweep; name another file")
            self._file.truncate(whole)
        return rows

    def __enter__(self) -> "Results":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        """Append a row; it is on the disk when this returns."""
        self._file.write(_line(row))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[row["reference"]] = row.copy()

    def tidy(self) -> None:
        """Rewrite the file with one line for each reference, by family and name."""
        ordered = sorted(self.rows.values(), key=lambda r: (r["family"], r["reference"]))
        content = b"".join(_line(row) for row in ordered)
        self._file.seek(0)
        if self._file.read() != content:
            atomic_write(self.path, content)


def _line(row: Row) -> bytes:
    text = json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
