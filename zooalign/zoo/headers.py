"""The header of a safetensors file: 8 bytes of length, JSON, then the tensors' bytes.

The format is documented at https://huggingface.co/docs/safetensors/index#format. Reading it
here, before the library maps the file, gives shapes and dtypes without opening it and errors
that name the file and the key; files come from strangers.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import TensorInfo
from zooalign.zoo.json_files import converted, parse_object
from zooalign.zoo.lfs_pointers import refuse_pointer

__all__ = ["Header", "make_header", "read_header"]

# The limit of the safetensors library itself.
_MAX_HEADER = 100_000_000
_LENGTH = struct.Struct("<Q")
# Far above any model's, far below what a header can list.
_MOST_TENSORS = 2**18
_MOST_AXES = 64
_CODES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_NAMES = {dtype: code for code, dtype in _CODES.items()}

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=_MOST_AXES)]
    data_offsets: tuple[_Size, _Size]


@dataclass(frozen=True)
class Header:
    """A header: the tensors in the order of their bytes, their offsets in the file, metadata."""

    tensors: Mapping[str, TensorInfo]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read and check the header of ``path``.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, or breaks the format anywhere.
    """
    refuse_pointer(path, CheckpointError)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                raise CheckpointError(f"{path}: truncated: {size} bytes are not a safetensors file")
            (length,) = _LENGTH.unpack(prefix)
            if length > _MAX_HEADER:
                raise CheckpointError(
                    f"{path}: not a safetensors file: it claims a header of {length} bytes, the "
                    f"limit is {_MAX_HEADER}"
                )
            if _LENGTH.size + length > size:
                raise CheckpointError(
                    f"{path}: truncated: its header needs {_LENGTH.size + length} bytes, the "
                    f"file has {size}; download or copy it again"
                )
            raw = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    entries = _parse(path, raw)
    metadata = entries.pop("__metadata__", {})
    metadata = converted(metadata, dict[str, str], f"{path}: __metadata__", CheckpointError)
    for text in (*entries, *metadata, *metadata.values()):
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            # JSON can write half a character (\ud800), and nothing can store it.
            raise CheckpointError(f"{path}: {text!r}: holds half a character, which is not text")
    return _checked(path, entries, metadata, data_start=_LENGTH.size + length, size=size)


def make_header(
    tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> tuple[bytes, Header]:
    """The first bytes of a file with these tensors, and the offsets for the rest.

    Wider dtypes come first and the header is padded to 8 bytes, so every tensor is aligned.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        info = tensors[name]
        if info.dtype not in _NAMES:
            raise CheckpointError(f"{name}: {info.dtype} cannot be written to a safetensors file")
        end = begin + info.nbytes
        entries[name] = {
            "dtype": _NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise CheckpointError(f"a header of {len(text)} bytes is over the format's {_MAX_HEADER}")
    start = _LENGTH.size + len(text)
    header = Header(
        {name: tensors[name] for name in order},
        {name: start + entries[name]["data_offsets"][0] for name in order},
        dict(metadata),
    )
    return _LENGTH.pack(len(text)) + text, header


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    # Counted before it is parsed, as a header bomb makes gigabytes of small objects.
    count = raw.count(b'"data_offsets"')
    if count <= _MOST_TENSORS:
        entries = parse_object(raw, f"{path}: its header", CheckpointError, unique=True)
        count = len(entries)
    if count > _MOST_TENSORS:
        raise CheckpointError(
            f"{path}: its header lists {count} tensors, the limit is {_MOST_TENSORS}"
        )
    return entries


def _checked(
    path: Path, entries: dict[str, Any], metadata: dict[str, str], *, data_start: int, size: int
) -> Header:
    checked = {
        name: converted(value, _Entry, f"{path}: {name}: its entry", CheckpointError)
        for name, value in entries.items()
    }
    tensors: dict[str, TensorInfo] = {}
    offsets: dict[str, int] = {}
    position = 0
    for name in sorted(checked, key=lambda name: (checked[name].data_offsets, name)):
        entry, where = checked[name], f"{path}: {name}:"
        if entry.dtype not in _CODES:
            raise CheckpointError(f"{where} dtype {entry.dtype!r} is not supported")
        begin, end = entry.data_offsets
        if data_start + end > size:
            raise CheckpointError(
                f"{where} truncated or out of range: its bytes end at {data_start + end}, the "
                f"file at {size}"
            )
        tensors[name] = TensorInfo(entry.shape, _CODES[entry.dtype])
        if end - begin != tensors[name].nbytes:
            raise CheckpointError(
                f"{where} shape {list(entry.shape)} of {entry.dtype} needs "
                f"{tensors[name].nbytes} bytes, its offsets give {end - begin}"
            )
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a hole before it"
            raise CheckpointError(f"{where} {what}: begins at {begin}, expected {position}")
        offsets[name] = data_start + begin
        position = end
    if data_start + position != size:
        raise CheckpointError(
            f"{path}: {size - data_start - position} bytes follow the last tensor; no tensor "
            "owns them"
        )
    return Header(tensors, offsets, metadata)
