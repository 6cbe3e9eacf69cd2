"""Writing a model's directory: safetensors, dtype untouched, one tensor in memory at a time."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import StateView, TensorInfo, info_of
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.converted_checkpoint import ConvertedCheckpoint
from zooalign.zoo.files import new_directory, safe_name
from zooalign.zoo.headers import Header, make_header
from zooalign.zoo.layout import WEIGHTS_NAME, index_name

__all__ = ["digest_of", "write_model"]

# Files by name, computed from the SHA-256 of every tensor once all are written.
FilesOfDigests = Callable[[Mapping[str, str]], Mapping[str, bytes]]


@dataclass(frozen=True)
class _Shard:
    name: str
    start: bytes
    header: Header

    @property
    def nbytes(self) -> int:
        return len(self.start) + sum(info.nbytes for info in self.header.tensors.values())


def write_model(
    output_dir: Path | str,
    tensors: Mapping[str, Tensor],
    *,
    config_files: Mapping[str, bytes] | None = None,
    extra_files: Mapping[str, bytes] | FilesOfDigests | None = None,
    max_shard_size: int | None = None,
    layout_like: Checkpoint | None = None,
    weights_name: str = WEIGHTS_NAME,
    overwrite: bool = False,
) -> Path:
    """Write ``tensors`` and files as the directory ``output_dir``, whole or not at all.

    Parameters
    ----------
    tensors:
        Each is read once, when it is written.
    config_files:
        Files beside the weights, by name; so are ``extra_files``. A function is called once all
        tensors are written, with the SHA-256 of each (:func:`digest_of`): it gives the files, or
        raises, and then nothing is left behind.
    max_shard_size:
        Maximum bytes per file; without it, one file, the only layout that timm reads.
    layout_like:
        Keep this checkpoint's division into files and their metadata; keys it does not have go
        to the last one. One that is converted when it is read is written as it is stored.
    weights_name:
        What the library calls a file that holds all weights; names of shards begin alike.
    overwrite:
        Replace a directory that is there.

    Returns
    -------
    The directory's absolute path.

    Raises
    ------
    CheckpointError
        A tensor is not of the shape and dtype announced; the directory is not empty; the disk is
        full. Nothing is left behind.
    """
    digests: dict[str, str] = {}
    if callable(extra_files):
        tensors = _Hashed(tensors, digests)
    if isinstance(layout_like, ConvertedCheckpoint):
        tensors = layout_like.as_stored(tensors)
        layout_like = layout_like.stored
    infos = {name: info_of(tensors, name) for name in tensors}
    metadata = {"format": "pt", **(layout_like.metadata if layout_like else {})}
    shards = _plan(infos, metadata, max_shard_size, layout_like, weights_name)
    files = {**_index(shards, infos, weights_name), **(config_files or {})}
    if extra_files is not None and not callable(extra_files):
        if twice := sorted(set(files) & set(extra_files)):
            raise CheckpointError(f"{twice[0]} is given both as config and as extra file")
        files |= extra_files
    taken = {*files, *(shard.name for shard in shards)}
    if len(taken) < len(files) + len(shards):
        raise CheckpointError(f"{output_dir}: two of its files have one name: {sorted(taken)}")
    needed = sum(map(len, files.values())) + sum(shard.nbytes for shard in shards)
    with new_directory(output_dir, needed=needed, overwrite=overwrite) as directory:
        _write_files(directory, files)
        _write_shards(directory, shards, tensors)
        if callable(extra_files):
            files = dict(extra_files(digests))
            if twice := sorted(taken & set(files)):
                raise CheckpointError(f"{output_dir}: two of its files have one name: {twice[0]}")
            _write_files(directory, files)
    return Path(output_dir).absolute()


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values, little-endian and row-major, as safetensors keeps them."""
    return hashlib.sha256(_bytes_of(tensor)).hexdigest()


class _Hashed(StateView):
    """The tensors, each noted in ``digests`` when it is read."""

    def __init__(self, tensors: Mapping[str, Tensor], digests: dict[str, str]) -> None:
        super().__init__(tensors)
        self._digests = digests

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name].detach().to("cpu").contiguous()
        self._digests[name] = digest_of(tensor)
        return tensor


def _plan(
    infos: Mapping[str, TensorInfo],
    metadata: Mapping[str, str],
    max_shard_size: int | None,
    layout_like: Checkpoint | None,
    weights_name: str,
) -> list[_Shard]:
    if not infos:
        raise CheckpointError("there are no tensors to write")
    layout = layout_like.layout if layout_like is not None else {}
    names = sorted(set(layout.values()))
    parts: dict[str, dict[str, TensorInfo]] = {name: {} for name in names}
    if len(names) > 1:
        for key, info in infos.items():
            parts[layout.get(key, names[-1])][key] = info
        parts = {name: part for name, part in parts.items() if part}
    else:
        pieces = _split(infos, max_shard_size)
        stem = weights_name.removesuffix(".safetensors")
        parts = {
            f"{stem}-{number:05d}-of-{len(pieces):05d}.safetensors": piece
            for number, piece in enumerate(pieces, start=1)
        }
    if len(parts) == 1:
        parts = {weights_name: dict(infos)}
    return [_Shard(safe_name(name), *make_header(part, metadata)) for name, part in parts.items()]


def _split(
    infos: Mapping[str, TensorInfo], max_shard_size: int | None
) -> list[dict[str, TensorInfo]]:
    parts: list[dict[str, TensorInfo]] = [{}]
    size = 0
    for key, info in infos.items():
        if max_shard_size is not None and parts[-1] and size + info.nbytes > max_shard_size:
            parts.append({})
            size = 0
        parts[-1][key] = info
        size += info.nbytes
    return parts


def _index(
    shards: list[_Shard], infos: Mapping[str, TensorInfo], weights_name: str
) -> dict[str, bytes]:
    if len(shards) == 1:
        return {}
    place = {key: shard.name for shard in shards for key in shard.header.tensors}
    content = {
        "metadata": {"total_size": sum(info.nbytes for info in infos.values())},
        "weight_map": {key: place[key] for key in infos},
    }
    return {index_name(weights_name): (json.dumps(content, indent=2) + "\n").encode()}


def _write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = directory / safe_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_shards(directory: Path, shards: list[_Shard], tensors: Mapping[str, Tensor]) -> None:
    for shard in shards:
        path = directory / shard.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(shard.start)
            # The header lists the tensors in the order of their bytes, without holes.
            for name, announced in shard.header.tensors.items():
                tensor = tensors[name]
                if TensorInfo.of(tensor) != announced:
                    raise CheckpointError(
                        f"{name}: is {TensorInfo.of(tensor)}, but {announced} was announced"
                    )
                file.write(_bytes_of(tensor))


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())
