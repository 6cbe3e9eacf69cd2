"""The files of weights by their headers: whole, well formed, and in agreement with the index."""

import json
import re
from collections.abc import Iterator
from typing import Any

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.findings import Finding, check_of
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.checkpoint import INDEX_NAME, WEIGHTS_NAME
from zooalign.zoo.files import safe_name
from zooalign.zoo.headers import Header, read_header

__all__ = ["CHECKS"]

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


@check_of("weights.readable", "the files of weights are there and whole")
def readable(subject: OpenedRelease) -> Iterator[Finding]:
    """There are no weights, or a file of them is cut short. Only headers and lengths are read.

    Fix: download, copy or write the files again.
    """
    fix = "download or write the files again"
    truncated = [fault for fault in subject.faults if fault.truncated]
    for fault in truncated:
        yield Finding("weights.readable", "error", fault.name, fault.message, fix)
    if subject.permutation_only and not any(n.endswith(".safetensors") for n in subject.names):
        return  # it means to have none: permutation.only
    explained = bool(subject.faults) or any(True for _ in _index_faults(subject))
    if subject.unreadable is not None and not explained:
        yield Finding("weights.readable", "error", subject.reference, subject.unreadable, fix)


@check_of("weights.headers", "every safetensors header is sane")
def headers(subject: OpenedRelease) -> Iterator[Finding]:
    """A header is no JSON, huge, names a tensor twice, or gives offsets that overlap, leave holes
    or do not fit the shapes. Such a file was not written by safetensors.

    Fix: write the file again with safetensors; do not load it.
    """
    for fault in subject.faults:
        if not fault.truncated:
            yield Finding(
                "weights.headers",
                "error",
                fault.name,
                fault.message,
                "write the file again with safetensors",
            )


@check_of("weights.shards", "index and shards agree")
def shards(subject: OpenedRelease) -> Iterator[Finding]:
    """A shard that the index names is missing, a shard is in no index (orphan), a tensor is not
    where the index says, or the total size is another. Another file of weights, which the model
    does not read and no check looks into, is a warning.

    Fix: save the model again, which writes shards and index together; remove what is left over.
    """
    yield from _index_faults(subject)
    yield from _orphans(subject)


def _index_faults(subject: OpenedRelease) -> Iterator[Finding]:
    """What keeps the index from being used."""
    if INDEX_NAME not in subject.names:
        return
    try:
        weight_map, total = _read_index(subject)
    except SpecError as error:
        yield _odd(INDEX_NAME, str(error))
        return
    found: dict[str, Header] = {}
    broken = {fault.name for fault in subject.faults}
    for name in sorted(set(weight_map.values())):
        keys = [key for key, file in weight_map.items() if file == name]
        try:
            safe_name(name)
        except CheckpointError:
            yield _odd(INDEX_NAME, f"places {keys[0]} in {name!r}, outside its directory")
            continue
        if not name.endswith(".safetensors"):
            yield _odd(INDEX_NAME, f"places {keys[0]} in {name!r}, not a safetensors file")
        elif name not in subject.names:
            yield _odd(
                name, f"the index places {len(keys)} tensors in it ({keys[0]}), it is missing"
            )
        elif name not in broken:
            found[name] = read_header(subject.headers / name)
    for key, name in weight_map.items():
        if name in found and key not in found[name].tensors:
            yield _odd(key, f"the index places it in {name}, which does not hold it", name)
    for name, header in found.items():
        for key in header.tensors:
            if weight_map.get(key) != name:
                where = weight_map.get(key, "nowhere")
                yield _odd(key, f"is in {name}, the index places it in {where}", name)
    size = sum(info.nbytes for header in found.values() for info in header.tensors.values())
    whole = found.keys() == set(weight_map.values())
    if whole and isinstance(total, int) and total != size:
        yield Finding(
            "weights.shards",
            "warning",
            f"{INDEX_NAME}: total_size",
            f"says {total} bytes, the shards hold {size}",
            "save the model again",
        )


def _orphans(subject: OpenedRelease) -> Iterator[Finding]:
    used = {INDEX_NAME, WEIGHTS_NAME}
    if INDEX_NAME in subject.names:
        try:
            used |= set(_read_index(subject)[0].values())
        except SpecError:
            return
        if WEIGHTS_NAME in subject.names and WEIGHTS_NAME not in _read_index(subject)[0].values():
            yield _odd(WEIGHTS_NAME, "stands beside an index that does not name it: two models")
    for name in subject.names:
        if "/" not in name and _SHARD.fullmatch(name) and name not in used:
            yield _odd(name, "is a shard that no index names (orphan)")
            used.add(name)
    read = [file.relative_to(subject.headers).as_posix() for file in subject.files_of_weights]
    for name in subject.names if read else ():
        if name.lower().endswith(".safetensors") and name not in used and name not in read:
            message = "holds weights that the model does not read, so no check looks into them"
            fix = "remove it, or publish it in a repo of its own"
            yield Finding("weights.shards", "warning", name, message, fix)


def _read_index(subject: OpenedRelease) -> tuple[dict[str, str], Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is in it twice")
        return found

    text = subject.text(INDEX_NAME)
    try:
        body = json.loads(text or "", object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"is not JSON: {error}") from error
    weight_map = body.get("weight_map") if isinstance(body, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise SpecError("has no weight_map from tensors to files")
    if not weight_map:
        raise SpecError("has an empty weight_map")
    metadata = body.get("metadata")
    return weight_map, metadata.get("total_size") if isinstance(metadata, dict) else None


def _odd(where: str, message: str, file: str | None = None) -> Finding:
    fix = "save the model again, and remove what is left over"
    return Finding("weights.shards", "error", where, message, fix, file)


CHECKS = (readable, headers, shards)
