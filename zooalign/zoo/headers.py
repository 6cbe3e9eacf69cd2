"""The header of a safetensors file: 8 bytes of length, JSON, then the tensors' bytes.

The format is documented at https://huggingface.co/docs/safetensors/index#format. Reading it
here, before the library maps the file, gives shapes and dtypes without opening it and errors
that name the file and the key; files come from strangers.
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import TensorInfo

__all__ = ["Header", "make_header", "no_key_twice", "read_header"]

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
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                raise CheckpointError(f"{path}: truncated: {size} bytes are no safetensors file")
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
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: __metadata__ must map strings to strings")
    for text in (*entries, *metadata, *metadata.values()):
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            # JSON can write half a character (\ud800), and nothing can store it.
            raise CheckpointError(f"{path}: {text!r}: holds half a character, which is no text")
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
    relative = {}
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
        relative[name] = begin
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise CheckpointError(f"a header of {len(text)} bytes is over the format's {_MAX_HEADER}")
    start = _LENGTH.size + len(text)
    header = Header(
        {name: tensors[name] for name in order},
        {name: start + offset for name, offset in relative.items()},
        dict(metadata),
    )
    return _LENGTH.pack(len(text)) + text, header


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    entries: Any
    # Counted before it is parsed, as a header bomb makes gigabytes of small objects.
    if raw.count(b'"data_offsets"') > _MOST_TENSORS:
        raise _too_many(path, raw.count(b'"data_offsets"'))
    unique = no_key_twice(f"{path}: in its header")
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is not JSON: {error}") from None
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path}: its header is not a JSON object")
    if len(entries) > _MOST_TENSORS:
        raise _too_many(path, len(entries))
    return entries


def _too_many(path: Path, count: int) -> CheckpointError:
    return CheckpointError(
        f"{path}: its header lists {count} tensors, the limit is {_MOST_TENSORS}"
    )


def no_key_twice(where: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """An ``object_pairs_hook`` for ``json.loads`` that refuses an object with one key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise CheckpointError(f"{where}: the key {key!r} is there twice")
        return found

    return unique


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _checked(
    path: Path, entries: dict[str, Any], metadata: dict[str, str], *, data_start: int, size: int
) -> Header:
    spans = []
    tensors = {}
    for name, entry in entries.items():
        where = f"{path}: {name}"
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CheckpointError(f"{where}: its entry is not dtype, shape and data_offsets")
        dtype = _CODES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise CheckpointError(f"{where}: dtype {entry['dtype']!r} is not supported")
        shape, span = entry["shape"], entry["data_offsets"]
        if not isinstance(shape, list) or len(shape) > _MOST_AXES:
            raise CheckpointError(f"{where}: its shape is no list of at most {_MOST_AXES} sizes")
        if not all(map(_is_count, shape)):
            raise CheckpointError(f"{where}: {shape!r} is no shape")
        if not isinstance(span, list) or len(span) != 2 or not all(map(_is_count, span)):
            raise CheckpointError(f"{where}: {span!r} are no offsets")
        begin, end = span
        if data_start + end > size:
            raise CheckpointError(
                f"{where}: truncated or out of range: its bytes end at {data_start + end}, the "
                f"file at {size}"
            )
        info = TensorInfo(tuple(shape), dtype)
        if end - begin != info.nbytes:
            raise CheckpointError(
                f"{where}: shape {shape} of {entry['dtype']} needs {info.nbytes} bytes, its "
                f"offsets give {end - begin}"
            )
        tensors[name] = info
        spans.append((begin, end, name))
    spans.sort()
    position = 0
    for begin, end, name in spans:
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a hole before it"
            raise CheckpointError(f"{path}: {name}: {what}: begins at {begin}, expected {position}")
        position = end
    if data_start + position != size:
        raise CheckpointError(
            f"{path}: {size - data_start - position} bytes follow the last tensor; no tensor "
            "owns them"
        )
    names = [name for _, _, name in spans]
    return Header(
        {name: tensors[name] for name in names},
        {name: data_start + begin for begin, _, name in spans},
        metadata,
    )
