"""The files of weights by their headers: whole, well formed, and in agreement with the index."""

import json
import re
from collections.abc import Iterator, Mapping

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.findings import Problem, check
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.files import safe_name
from zooalign.zoo.headers import Header, read_header
from zooalign.zoo.layout import index_in, index_name

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


@check(
    "weights.readable",
    "the files of weights are present and whole",
    fix="download, copy or write the files again",
)
def readable(release: OpenedRelease) -> Iterator[Problem]:
    """There are no weights, or a file of them is cut short. Only headers and lengths are read."""
    for fault in release.faults:
        if fault.truncated:
            yield Problem(fault.name, fault.message)
    if release.permutation_only and not any(n.endswith(".safetensors") for n in release.names):
        return  # it is meant to have none: permutation.only
    explained = bool(release.faults) or any(True for _ in _index_problems(release))
    problem = release.problem("model")
    if problem is not None and not explained:
        yield Problem(release.reference, problem)


@check(
    "weights.headers",
    "every safetensors header is valid",
    fix="write the file again with safetensors; do not load it",
)
def headers(release: OpenedRelease) -> Iterator[Problem]:
    """A header is not JSON, is huge, names a tensor twice, or has offsets that overlap, leave holes
    or do not fit the shapes. The safetensors library does not write such a file.
    """
    for fault in release.faults:
        if not fault.truncated:
            yield Problem(fault.name, fault.message)


@check(
    "weights.shards",
    "the index and the shards agree",
    fix="save the model again, which writes shards and index together; remove files left over",
)
def shards(release: OpenedRelease) -> Iterator[Problem]:
    """A shard in the index is missing, a shard is not in an index (an orphan), a tensor is not
    where the index says, or the total size differs (a warning). Another file of weights, which the
    model does not read and no check reads, is a warning too.
    """
    yield from _index_problems(release)
    yield from _orphans(release)


def _index_problems(release: OpenedRelease) -> Iterator[Problem]:
    """What keeps the index from being used."""
    index = index_in(release.names)
    if index is None:
        return
    try:
        weight_map, total = _read_index(release, index)
    except SpecError as error:
        yield Problem(index, str(error))
        return
    shards: dict[str, Header] = {}
    broken = {fault.name for fault in release.faults}
    for name in sorted(set(weight_map.values())):
        keys = [key for key, file in weight_map.items() if file == name]
        problem = _shard_problem(release, index, name, keys)
        if problem is not None:
            yield problem
        elif name not in broken:
            shards[name] = read_header(release.headers / name)
    yield from _misplaced(weight_map, shards)
    size = sum(info.nbytes for header in shards.values() for info in header.tensors.values())
    complete = shards.keys() == set(weight_map.values())
    if complete and isinstance(total, int) and total != size:
        where, message = f"{index}: total_size", f"says {total} bytes, the shards hold {size}"
        yield Problem(where, message, "save the model again", "warning")


def _shard_problem(
    release: OpenedRelease, index: str, name: str, keys: list[str]
) -> Problem | None:
    """Why a file that the index names cannot be the shard of these tensors."""
    try:
        safe_name(name)
    except CheckpointError:
        return Problem(index, f"places {keys[0]} in {name!r}, outside its directory")
    if not name.endswith(".safetensors"):
        return Problem(index, f"places {keys[0]} in {name!r}, not a safetensors file")
    if name not in release.names:
        message = f"the index places {len(keys)} tensors in it ({keys[0]}), and it is missing"
        return Problem(name, message)
    return None


def _misplaced(weight_map: Mapping[str, str], shards: Mapping[str, Header]) -> Iterator[Problem]:
    """Tensors that are not in the shard that the index names."""
    for key, name in weight_map.items():
        if name in shards and key not in shards[name].tensors:
            yield Problem(key, f"the index places it in {name}, which does not hold it", file=name)
    for name, header in shards.items():
        for key in header.tensors:
            if weight_map.get(key) != name:
                stated = weight_map.get(key, "nowhere")
                yield Problem(key, f"is in {name}, the index places it in {stated}", file=name)


def _orphans(release: OpenedRelease) -> Iterator[Problem]:
    """Files of weights that the model does not read."""
    indexed: set[str] = set()
    beside: set[str] = set()
    index = index_in(release.names)
    if index is not None:
        try:
            indexed = set(_read_index(release, index)[0].values())
        except SpecError:  # reported with the index
            return
        beside = {name for name in release.names if index_name(name) == index} - indexed
        for name in beside:
            message = "stands beside an index that does not name it, so there are two models"
            yield Problem(name, message)
    orphans = {
        name
        for name in release.names
        if "/" not in name and _SHARD.fullmatch(name) and name not in indexed
    }
    for name in sorted(orphans):
        yield Problem(name, "is a shard that no index names (orphan)")
    known = {*beside, *indexed, *orphans, *release.weight_files}
    for name in release.names if release.weight_files else ():
        if name.lower().endswith(".safetensors") and name not in known:
            yield Problem(
                name,
                "holds weights that the model does not read, so no check reads them",
                "remove it, or publish it in a repo of its own",
                "warning",
            )


def _read_index(release: OpenedRelease, index: str) -> tuple[dict[str, str], object]:
    """The map from tensors to shards, and the stated total size."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key is in it twice")
        return dict(pairs)

    text = release.text(index)
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
