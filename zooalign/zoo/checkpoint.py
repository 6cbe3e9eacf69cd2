"""Checkpoints read lazily: shapes and dtypes from headers, one tensor at a time from the map."""

import errno
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from zooalign.errors import CheckpointError, ZooalignWarning
from zooalign.graph.dtypes import is_finite
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.text import first_line, some_of
from zooalign.zoo.headers import Header, read_header
from zooalign.zoo.json_files import converted, read_object
from zooalign.zoo.layout import WEIGHTS_NAME
from zooalign.zoo.lfs_pointers import refuse_pointer

__all__ = [
    "STATES",
    "Checkpoint",
    "find_nonfinite",
    "open_checkpoint",
    "open_pickle",
    "open_pickle_index",
]

# Names under which training runs save the weights, in the order they are looked for.
STATES = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "ema")
_AVERAGED = ("state_dict_ema", "model_ema", "ema")
# How torch says which class it refused.
_REFUSED = re.compile(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)")
_MAX_INDEX = 100_000_000
_SHOWN = 5
# How deep states lie in others: ema.module, checkpoint.model.
_DEPTH = 3


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class Checkpoint(LazyTensors):
    """A checkpoint of one file or several.

    ``files`` are all its files (shards, then the index if there is one), ``layout`` says which
    shard's name holds which key, ``metadata`` is the first shard's. ``unused`` are tensors of the
    files that the architecture has no use for, by their names there.
    """

    def __init__(
        self,
        infos: Mapping[str, TensorInfo],
        read: Callable[[str], Tensor],
        *,
        files: tuple[Path, ...],
        layout: Mapping[str, str],
        metadata: Mapping[str, str],
        unused: Mapping[str, TensorInfo] | None = None,
    ) -> None:
        super().__init__(infos, read)
        self.files = files
        self.layout = dict(layout)
        self.metadata = dict(metadata)
        self.unused = dict(unused or {})

    def renamed(self, names: Mapping[str, str]) -> "Checkpoint":
        """The same tensors under other names, which ``names`` gives with the present ones."""
        return Checkpoint(
            {name: self.info(old) for name, old in names.items()},
            lambda name: self[names[name]],
            files=self.files,
            layout={name: self.layout[old] for name, old in names.items()},
            metadata=self.metadata,
        )


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a ``.safetensors`` file, or a ``.safetensors.index.json`` with its shards.

    Raises
    ------
    CheckpointError
        A file is missing, truncated or malformed, or the index does not agree with the shards or
        names a file outside its directory.
    """
    path = Path(path)
    if path.name.endswith(".json"):
        return _open_index(path)
    header = read_header(path)
    layout = dict.fromkeys(header.tensors, path.name)
    return Checkpoint(
        header.tensors,
        _reader({path.name: path}, layout, {path.name: header}),
        files=(path,),
        layout=layout,
        metadata=header.metadata,
    )


def open_pickle(
    path: Path | str, state: str | None = None, states: Sequence[str] = STATES
) -> Checkpoint:
    """Open a file of :data:`~zooalign.zoo.references.PICKLE_SUFFIXES`, restricted to tensors.

    Parameters
    ----------
    state:
        The name of the state dict among those in the file (``ema.module``), or what stands before
        the names of its tensors (``student``); ``ema`` is any average of weights.
    states:
        Names of which the first dict is taken without it, in place of the whole file.

    Warns
    -----
    ZooalignWarning
        The file has other states (``state_dict_ema``) than the one that is taken by itself.

    Raises
    ------
    CheckpointError
        The file cannot be read so, holds something else than tensors, or has no such state.
    """
    path = Path(path)
    content = _state_in(_unpickled(path), path, state, states)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds {type(content).__name__}, not a state dict")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {key}: {type(value).__name__} is not a named tensor, so that the file is "
                "not a state dict, nor has it one with a name"
            )
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(f"{path}: {key}: {_kind(value)}; store it as a dense tensor")
    tensors = {key: value.detach() for key, value in content.items()}
    return Checkpoint(
        {key: TensorInfo.of(value) for key, value in tensors.items()},
        tensors.__getitem__,
        files=(path,),
        layout=dict.fromkeys(tensors, WEIGHTS_NAME),
        metadata={},
    )


def open_pickle_index(path: Path | str) -> Checkpoint:
    """Open the pickles that a ``pytorch_model.bin.index.json`` lists, restricted to tensors.

    Raises
    ------
    CheckpointError
        A file is missing or cannot be read so, or the index does not agree with the shards or
        names a file outside its directory.
    """
    path = Path(path)
    weight_map = _read_index(path)
    shards = {n: _inside(path, n, key, ".bin") for key, n in reversed(list(weight_map.items()))}
    tensors: dict[str, Tensor] = {}
    for name in sorted(shards):
        keys = [key for key, file in weight_map.items() if file == name]
        if not shards[name].is_file():
            raise CheckpointError(f"{path}: the shard {name} is missing ({keys[0]} is in it)")
        content = _unpickled(shards[name])
        for key in keys:
            if not isinstance(content, Mapping) or not isinstance(content.get(key), Tensor):
                raise CheckpointError(
                    f"{path}: {key} is said to be in {name}, which does not hold it"
                )
            tensors[key] = content[key].detach()
    return Checkpoint(
        {key: TensorInfo.of(tensor) for key, tensor in tensors.items()},
        tensors.__getitem__,
        files=(*(shards[name] for name in sorted(shards)), path),
        layout={
            key: f"{name.removeprefix('pytorch_').removesuffix('.bin')}.safetensors"
            for key, name in weight_map.items()
        },
        metadata={},
    )


def _unpickled(path: Path) -> Any:
    """The file's content; one older than torch 1.6 is no archive, and cannot be mapped."""
    refuse_pointer(path, CheckpointError)
    try:
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of archives and protocols, which errors name
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read with weights_only=True: {_why_unread(error)}; convert it to "
            "safetensors in an environment you trust it in"
        ) from error


def _why_unread(error: Exception) -> str:
    """What torch refused, without its advice to read the file all the same."""
    text = str(error)
    refused = _REFUSED.search(text)
    if refused is not None:
        return f"it holds {refused[1]}, which is more than tensors"
    if "TorchScript" in text:
        return "it is a TorchScript program (torch.jit.load(FILE).state_dict() has its weights)"
    if isinstance(error, UnpicklingError):
        return "it is no file of torch.save (of plain pickle, or damaged)"
    return first_line(error) or type(error).__name__


def _state_in(content: Any, path: Path, state: str | None, states: Sequence[str]) -> Any:
    """The state dict among what a training run saves, which is named where there are several."""
    dicts = _state_dicts(content)
    if state is not None:
        return _named(state, content, dicts, path)
    names = [name for name in dict.fromkeys(states) if name in dicts]
    outermost = [name for name in dicts if name.count(".") == min(n.count(".") for n in dicts)]
    if not names and len(outermost) == 1:
        names = outermost
    if not names and dicts:
        raise CheckpointError(
            f"{path}: which of its states is meant is not clear: {some_of(outermost, _SHOWN)}; "
            f"name one behind the file (?state={outermost[0]})"
        )
    if len(names) > 1:
        warnings.warn(
            f"{path}: holds several states: '{names[0]}' is read, and "
            f"{some_of([repr(name) for name in names[1:]], _SHOWN)} is not; name another behind "
            f"the file (?state={names[1]})",
            ZooalignWarning,
            stacklevel=3,
        )
    return dicts[names[0]] if names else content


def _named(state: str, content: Any, dicts: Mapping[str, Any], path: Path) -> Any:
    """The state of a name, of the parts inside it, or of the tensors that it stands before."""
    wanted = _AVERAGED if state == "ema" else (state,)
    for name in dicts:
        if name in wanted or name.startswith(tuple(f"{each}." for each in wanted)):
            return dicts[name]
    for whole in (*dicts.values(), content):
        part = _behind(f"{state}.", whole)
        if part:
            return part
    raise CheckpointError(
        f"{path}: has no state '{state}' (?state={state}); it has "
        f"{some_of(list(dicts), _SHOWN) if dicts else 'one state dict without a name'}"
    )


def _behind(start: str, state: Any) -> dict[str, Any]:
    """What a state dict has under names that begin with ``start``, without that."""
    items = state.items() if isinstance(state, Mapping) else ()
    named = {name: value for name, value in items if isinstance(name, str)}
    return {n.removeprefix(start): value for n, value in named.items() if n.startswith(start)}


def _kind(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "its values are not in the file (meta device)"
    return "is quantised" if tensor.is_quantized else f"is sparse ({tensor.layout})"


def _state_dicts(content: Any) -> dict[str, Mapping[Any, Any]]:
    """The parts of a file that hold tensors by name, an optimizer's not among them.

    A part of a part (``ema.module``) comes behind the outer ones.
    """
    states: dict[str, Mapping[Any, Any]] = {}
    level = {"": content} if isinstance(content, Mapping) else {}
    for _ in range(_DEPTH):
        parts = {
            f"{outer}.{name}".removeprefix("."): part
            for outer, whole in level.items()
            for name, part in whole.items()
            if isinstance(name, str) and isinstance(part, Mapping)
        }
        states |= {name: part for name, part in parts.items() if _has_tensors(part)}
        level = {name: part for name, part in parts.items() if name not in states}
    return states


def _has_tensors(part: Mapping[Any, Any]) -> bool:
    return any(isinstance(key, str) and isinstance(part[key], Tensor) for key in part)


def find_nonfinite(tensors: Mapping[str, Tensor], limit: int = 10) -> list[str]:
    """The first ``limit`` names whose tensors hold a NaN or an infinity, in mapping order."""
    return list(islice((name for name in tensors if not is_finite(tensors[name])), limit))


def _open_index(path: Path) -> Checkpoint:
    weight_map = _read_index(path)
    shards = {name: _inside(path, name, key) for key, name in reversed(list(weight_map.items()))}
    headers = {}
    for name in sorted(shards):
        if not shards[name].is_file():
            key = next(key for key, file in weight_map.items() if file == name)
            raise CheckpointError(f"{path}: the shard {name} is missing ({key} is in it)")
        headers[name] = read_header(shards[name])
    infos = {}
    for key, name in weight_map.items():
        if key not in headers[name].tensors:
            raise CheckpointError(f"{path}: {key} is said to be in {name}, which does not hold it")
        infos[key] = headers[name].tensors[key]
    for name, header in headers.items():
        for key in header.tensors:
            if weight_map.get(key) != name:
                raise CheckpointError(
                    f"{path}: {name} holds {key}, which the index places elsewhere"
                )
    return Checkpoint(
        infos,
        _reader(shards, weight_map, headers),
        files=(*(shards[name] for name in sorted(shards)), path),
        layout=weight_map,
        metadata=headers[min(headers)].metadata,
    )


def _read_index(path: Path) -> dict[str, str]:
    index = read_object(path, _MAX_INDEX, CheckpointError, unique=True)
    weight_map = converted(index, _Index, f"{path}:", CheckpointError).weight_map
    if not weight_map:
        raise CheckpointError(f"{path}: its weight_map is empty")
    return weight_map


def _inside(index: Path, name: str, key: str, suffix: str = ".safetensors") -> Path:
    """The path of a shard; it may not leave the index's directory by any means.

    The hub's cache is the exception: its snapshots consist of links to ``../../blobs``.
    """
    pure = PurePosixPath(name)
    directory = index.parent
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or ":" in name:
        raise CheckpointError(f"{index}: {key} is placed in {name!r}, outside its directory")
    if not name.endswith(suffix):
        raise CheckpointError(f"{index}: {key} is placed in {name!r}, not a {suffix[1:]} file")
    try:
        resolved = (directory / name).resolve()
        (directory / name).is_file()
    except (OSError, ValueError) as error:  # too long, or half a character
        short = repr(name[:100])
        raise CheckpointError(
            f"{index}: {key} is placed in {short}, not a name of a file"
        ) from error
    allowed = [directory.resolve()]
    if directory.resolve().parent.name == "snapshots":
        allowed.append(directory.resolve().parent.parent / "blobs")
    if not any(resolved.is_relative_to(root) for root in allowed):
        raise CheckpointError(f"{index}: {key} is placed in {name!r}, a link out of its directory")
    return directory / name


def _reader(
    shards: Mapping[str, Path], layout: Mapping[str, str], headers: Mapping[str, Header]
) -> Callable[[str], Tensor]:
    def read(key: str) -> Tensor:
        name = layout[key]
        info, offset = headers[name].tensors[key], headers[name].offsets[key]
        if info.nbytes == 0:
            return torch.empty(info.shape, dtype=info.dtype)
        try:
            # A private map for each tensor: tensors of one map, as safetensors gives
            # them, see what is written to each other, and a module in training mode writes.
            raw = np.memmap(shards[name], np.uint8, mode="c", offset=offset, shape=(info.nbytes,))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                raise MemoryError from error
            raise CheckpointError(
                f"{shards[name]}: {key}: cannot be mapped, the file has changed: {error}"
            ) from error
        flat = torch.from_numpy(raw)
        aligned = flat if offset % info.dtype.itemsize == 0 else flat.clone()
        return aligned.view(info.dtype).reshape(info.shape)

    return read
