"""Git LFS pointers: what a clone holds in place of large files that were not fetched."""

import contextlib
from pathlib import Path

from zooalign.errors import ZooalignError

__all__ = ["refuse_pointer"]

_BEGINNING = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: Path, error: type[ZooalignError]) -> None:
    """Raise ``error`` if a file is a pointer; one that cannot be opened is left to its reader."""
    beginning = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        beginning = file.read(len(_BEGINNING))
    if beginning == _BEGINNING:
        raise error(f"{path}: is a Git LFS pointer, not the file itself: fetch it (git lfs pull)")
