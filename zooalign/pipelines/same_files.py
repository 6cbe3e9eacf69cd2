"""Comparing a release with what its operation written again."""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import CheckpointError, SpecError
from zooalign.release import layout
from zooalign.release.contents import LocalContents, hash_file
from zooalign.release.opened import OpenedRelease
from zooalign.release.provenance import REFIT_TOLERANCE
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.writer import digest_of

__all__ = ["Difference", "Rounded", "SameFiles", "compare_files"]

# What a record says of values that were measured on the refitted weights.
_MEASURED = ("refit", "score", "benefit")


@dataclass(frozen=True)
class Difference:
    """A file that differs; ``where`` is the first tensor or field in it that does."""

    file: str
    where: str
    message: str


@dataclass(frozen=True)
class Rounded:
    """A refitted tensor that differs within the recorded tolerance.

    ``relative_error`` is the norm of what differs, relative to the tensor's.
    """

    file: str
    tensor: str
    relative_error: float


@dataclass(frozen=True)
class SameFiles:
    """Files that were compared, what differs, and files that were not written again."""

    compared: tuple[str, ...]
    differences: tuple[Difference, ...]
    rounded: tuple[Rounded, ...]
    extra: tuple[str, ...]


def compare_files(release: OpenedRelease, again: Path, renamed: Mapping[str, str]) -> SameFiles:
    """Compare the files of a release with those in ``again``, weights first.

    ``renamed`` maps references as they were given to the second run to those of the first. The
    versions that a record and a card mention are left out of the comparison, and so are the proof
    of the spec and the plot, which depends on a library that draws it. Of a refitted merge, tensors
    that were recomputed may differ within the recorded tolerance; what was measured on them is not
    compared then.
    """
    written = [entry.name for entry in LocalContents.of(again).entries]
    written.sort(key=lambda name: (not name.endswith(".safetensors"), name))
    compared, differences, rounded = list[str](), list[Difference](), list[Rounded]()
    for name in written:
        if name not in release.names:
            differences.append(
                Difference(name, name, "is written again, but is not in the release")
            )
            continue
        if name == layout.PLOT:
            continue
        compared.append(name)
        for item in _compare(release, name, again / name, renamed, rounded):
            if isinstance(item, Rounded):
                rounded.append(item)
            else:
                differences.append(item)
    extra = [n for n in release.names if n not in written]
    for name in extra:
        if name.endswith(".safetensors"):
            differences.append(
                Difference(name, name, "is in the release, but is not written again")
            )
    return SameFiles(tuple(compared), tuple(differences), tuple(rounded), tuple(extra))


def _compare(
    release: OpenedRelease,
    name: str,
    again: Path,
    renamed: Mapping[str, str],
    rounded: Sequence[Rounded],
) -> Iterator[Difference | Rounded]:
    """What differs in a file; ``rounded`` are the tensors that differ by rounding."""
    try:
        path = release.contents.path(name)
        if hash_file(path) == hash_file(again):
            return
        if name.endswith(".safetensors"):
            yield from _tensors(release, name, path, again)
        elif name == layout.PROVENANCE:
            yield from _record(release, again, renamed, _MEASURED if rounded else ())
        elif name == layout.CARD:
            yield from () if rounded else _card(release, again, renamed)
        elif name == layout.DIGESTS and rounded:
            yield from _digests(release, again, {item.tensor for item in rounded})
        elif name == layout.SPEC:
            yield from _spec(release, again)
        else:
            yield Difference(name, name, "has other bytes than when it is written again")
    except (CheckpointError, SpecError, OSError) as error:
        yield Difference(name, name, f"cannot be compared: {error}")


def _tensors(
    release: OpenedRelease, name: str, path: Path, again: Path
) -> Iterator[Difference | Rounded]:
    """The first tensor that differs, behind those that differ by rounding."""
    ours, theirs = open_checkpoint(path), open_checkpoint(again)
    recomputed, tolerance = _refitted(release)
    rounded = False
    for key in theirs:
        if key not in ours:
            yield Difference(name, key, "is written again, but is not in the release")
            return
        alike = ours.info(key) == theirs.info(key)
        if alike and digest_of(ours[key]) == digest_of(theirs[key]):
            continue
        error = _relative_error(ours[key], theirs[key]) if alike else math.inf
        if key not in recomputed or not error <= tolerance:
            yield Difference(name, key, f"has other values in {name} than when it is written again")
            return
        rounded = True
        yield Rounded(name, key, error)
    if not rounded:
        yield Difference(name, name, "has the same tensors, stored in other bytes")


def _refitted(release: OpenedRelease) -> tuple[frozenset[str], float]:
    """Tensors that may differ by rounding, and by how much."""
    if not release.has("provenance") or release.provenance.refit is None:
        return frozenset(), 0.0
    # The record may come from anybody.
    tolerance = min(release.provenance.refit.tolerance, REFIT_TOLERANCE)
    return frozenset(release.provenance.recomputed), tolerance


def _relative_error(a: Tensor, b: Tensor) -> float:
    norm = float(b.double().norm())
    return float((a.double() - b.double()).norm()) / norm if norm else math.inf


def _digests(release: OpenedRelease, again: Path, rounded: Collection[str]) -> Iterator[Difference]:
    name = layout.DIGESTS
    theirs: dict[str, str] = json.loads(again.read_text(encoding="utf-8"))
    for tensor, digest in theirs.items():
        if tensor not in rounded and release.json(name).get(tensor) != digest:
            yield Difference(name, f"{name}: {tensor}", "is another when it is written again")


def _record(
    release: OpenedRelease, again: Path, renamed: Mapping[str, str], measured: Collection[str]
) -> Iterator[Difference]:
    """Fields that differ, but for those that were ``measured`` on rounded weights."""
    name = layout.PROVENANCE
    ours: dict[str, Any] = release.json(name)
    theirs: dict[str, Any] = json.loads(_put_back(again.read_text(encoding="utf-8"), renamed))
    for key in theirs:
        if key not in ("versions", "warnings", *measured) and ours.get(key) != theirs[key]:
            yield Difference(name, f"{name}: {key}", "is another when the release is written again")


def _spec(release: OpenedRelease, again: Path) -> Iterator[Difference]:
    """Whether a spec is proved when it is derived depends on what that costs on a machine."""
    name = layout.SPEC
    theirs: dict[str, Any] = json.loads(again.read_text(encoding="utf-8"))
    if {**release.json(name), "proof": None} != {**theirs, "proof": None}:
        yield Difference(name, name, "is another spec when the release is written again")


def _card(release: OpenedRelease, again: Path, renamed: Mapping[str, str]) -> Iterator[Difference]:
    name = layout.CARD
    ours = (release.text(name) or "").splitlines()
    theirs = _put_back(again.read_text(encoding="utf-8"), renamed).splitlines()
    seed = f"Seed {release.provenance.seed}. With " if release.has("provenance") else "\0"
    for number in range(max(len(ours), len(theirs))):
        one, other = (lines[number : number + 1] for lines in (ours, theirs))
        if one != other and not (one and one[0].startswith(seed)):
            message = "has another text than when it is written again"
            yield Difference(name, f"{name}: line {number + 1}", message)
            return


def _put_back(text: str, renamed: Mapping[str, str]) -> str:
    for given, recorded in renamed.items():
        text = text.replace(given, recorded)
    return text
