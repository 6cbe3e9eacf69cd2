"""A repo's headers on this machine: files of full length that hold no weights.

A shard's header is a few kilobytes, the shard gigabytes. Each file of the mirror has the header's
bytes and the stated length, and takes no space for the rest (it is sparse), so that everything
that reads headers works on it. Its weights are never read: :func:`headers_only` refuses.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from zooalign.errors import CheckpointError
from zooalign.release.contents import Contents, heads
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.headers import read_header
from zooalign.zoo.layout import CONFIG_NAME, is_index

__all__ = ["FormatFault", "faults_of", "headers_only", "make_mirror"]

_FIRST = 65_536
_MAX_HEADER = 100_000_000
_MAX_SIZE = 2**43


@dataclass(frozen=True)
class FormatFault:
    """A file of weights that breaks the format."""

    name: str
    message: str

    @property
    def truncated(self) -> bool:
        """Whether the file is merely not whole, as :mod:`zooalign.zoo.headers` words it."""
        return "truncated" in self.message or "cannot be read" in self.message


def make_mirror(contents: Contents, folder: Path) -> None:
    """Fill ``folder`` with the configuration, the index and the headers of all shards."""
    known = {entry.name: entry for entry in contents.entries}
    for name in known:
        if name != CONFIG_NAME and not is_index(name):
            continue
        if (known[name].size or 0) > _MAX_HEADER:
            raise CheckpointError(
                f"{name}: the hub says it has {known[name].size} bytes; over {_MAX_HEADER} it "
                "is not read"
            )
        (folder / name).write_bytes(contents.path(name).read_bytes())
    for name in known:
        if "/" not in name and not (folder / name).exists():
            (folder / name).touch()  # libraries are recognised by the names beside the config
    shards = [name for name in known if name.endswith(".safetensors")]
    for name, head in heads(contents, shards, _FIRST).items():
        if len(head) >= 8:
            (length,) = struct.unpack("<Q", head[:8])
            if _FIRST < 8 + length <= 8 + _MAX_HEADER:
                head = contents.head(name, 8 + length)
        stated = known[name].size
        size = len(head) if stated is None else stated
        if size > _MAX_SIZE:
            raise CheckpointError(f"{name}: the hub says it has {size} bytes, which is not a shard")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(head[:size])
            file.truncate(size)


def headers_only(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its values: shapes, dtypes and places of tensors only."""

    def refuse(name: str) -> NoReturn:
        raise CheckpointError(f"{name}: only headers are at hand, not the values")

    return Checkpoint(
        {name: checkpoint.info(name) for name in checkpoint},
        refuse,
        files=checkpoint.files,
        layout=checkpoint.layout,
        metadata=checkpoint.metadata,
        unused=checkpoint.unused,
    )


def faults_of(root: Path, names: tuple[str, ...]) -> tuple[FormatFault, ...]:
    """What is wrong with the safetensors files among ``names``, each file by itself."""
    faults = []
    for name in names:
        if name.endswith(".safetensors"):
            try:
                read_header(root / name)
            except CheckpointError as error:
                faults.append(FormatFault(name, str(error).removeprefix(f"{root / name}: ")))
    return tuple(faults)
