"""JSON objects from strangers' files: bounded in size, and with an error that names the file."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from zooalign.errors import ZooalignError
from zooalign.zoo.lfs_pointers import refuse_pointer

__all__ = ["converted", "flattened", "parse_object", "read_object"]

T = TypeVar("T")


def read_object(
    path: Path, limit: int, error: type[ZooalignError], *, unique: bool = False, hint: str = ""
) -> dict[str, Any]:
    """The JSON object in a file of at most ``limit`` bytes.

    ``unique`` is as for :func:`parse_object`; ``hint`` is what to do if the file cannot be read.
    """
    refuse_pointer(path, error)
    try:
        if path.stat().st_size > limit:
            raise error(f"{path}: a file of this kind over {limit} bytes is not read")
        content = path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or problem
        raise error(f"{path}: cannot be read: {reason}{hint}") from problem
    return parse_object(content, f"{path}:", error, unique=unique)


def parse_object(
    content: bytes, where: str, error: type[ZooalignError], *, unique: bool
) -> dict[str, Any]:
    """The JSON object that ``content`` is; with ``unique`` no object in it repeats a key."""

    def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if unique and len(value) < len(pairs):
            ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise error(f"{where} the key {key!r} is there twice")
        return value

    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise error(f"{where} is not a JSON object")
    return value


def converted(value: Any, kind: type[T], where: str, error: type[ZooalignError]) -> T:
    """``value`` checked against ``kind``; the error names the field that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as problem:  # half a character
        raise error(f"{where} is malformed: {problem}") from None


def flattened(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, names joined by dots.

    >>> flattened({"a": 1, "b": {"c": [2], "d": {}}})
    {'a': 1, 'b.c': [2]}
    """
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= flattened(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat
