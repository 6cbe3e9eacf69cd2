"""The files of a directory that would be published, exactly."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from zooalign.errors import CheckpointError

__all__ = ["PublishedFile", "hash_file", "list_files"]


@dataclass(frozen=True)
class PublishedFile:
    """A file: its path in the repo, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


def list_files(directory: Path) -> tuple[PublishedFile, ...]:
    """Every file of ``directory`` by path, but for hidden files and folders.

    Raises
    ------
    CheckpointError
        If it is no directory or holds nothing, or a link leads out of it.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: there is no such directory")
    root = directory.resolve()
    found = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if any(part.startswith(".") for part in name.parts):
            continue
        if not path.resolve().is_relative_to(root):
            raise CheckpointError(
                f"{path}: is a link out of the directory, and what it points to is not published; "
                "replace it by the file itself"
            )
        if path.is_file():
            found.append(PublishedFile(name.as_posix(), path.stat().st_size, hash_file(path)))
    if not found:
        raise CheckpointError(f"{directory}: holds no files to publish")
    return tuple(found)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
