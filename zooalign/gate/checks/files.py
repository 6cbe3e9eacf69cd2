"""The files of a release: their names, links, and bytes that are stated elsewhere."""

import hashlib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from zooalign.errors import CheckpointError
from zooalign.gate.findings import Problem, check
from zooalign.release.contents import ListedFile, LocalContents, hash_file, is_inside
from zooalign.release.opened import OpenedRelease


@check("files.names", "file names are plain and stay inside the directory", fix="rename the file")
def names(release: OpenedRelease) -> Iterator[Problem]:
    """A name is absolute, leads out of the directory, holds control, direction or zero-width
    characters, or differs from another name only by case or by how accents are written, so that
    some file systems keep only one of the two.
    """
    for name in release.contents.unsafe:
        yield Problem(name, "leads out of the directory it would be written to")
    folded: dict[str, str] = {}
    for name in release.names:
        if not name.isprintable() or "\\" in name:
            yield Problem(name, "holds characters that do not belong in a file name")
        twin = folded.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name:
            yield Problem(name, f"differs from {twin} by case or accents only")


@check(
    "files.inside",
    "no link leads out of the directory",
    fix="replace the link by the file itself, or remove it",
)
def inside(release: OpenedRelease) -> Iterator[Problem]:
    """A link leads out of the directory, or to nothing. Publishing would send what it points to."""
    if not isinstance(release.contents, LocalContents) or release.repo is not None:
        return
    root = release.contents.directory
    for name in release.names:
        if not is_inside(root, root / name) or not (root / name).exists():
            yield Problem(name, "is a link out of the directory, or to nothing")


@check(
    "files.hashes",
    "downloaded files have the hashes that the hub states",
    "values",
    fix="delete it from the cache and download it again; if it still differs, the file on the hub "
    "is broken",
)
def hashes(release: OpenedRelease) -> Iterator[Problem]:
    """A file of the weights, or another large file in the cache, has another SHA-256 than the hub
    states. This concerns repos only, as a directory states nothing about itself. Only weights are
    downloaded for it.
    """
    for entry in release.contents.entries:
        if entry.sha256 is None:
            continue
        cached = release.contents.here(entry.name)
        if cached is None and entry.name not in release.weight_files:
            continue
        actual = hash_file(cached or release.contents.path(entry.name))
        if actual != entry.sha256:
            yield Problem(
                entry.name, f"has SHA-256 {actual[:16]}, the hub states {entry.sha256[:16]}"
            )


@check(
    "published.same",
    "the release holds exactly the files that were checked",
    "against",
    fix="publish the directory again, or find out who changed the repo since",
)
def published(release: OpenedRelease) -> Iterator[Problem]:
    """A file of the directory given with ``--against`` is missing from the release or has other
    bytes there, or the release has a file more. Of a repo, only names, sizes and the hashes that
    the hub states are read, but for files without a stated hash.
    """
    assert release.request.against is not None
    directory = Path(release.request.against)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: there is no such directory to compare with")
    checked = LocalContents.of(directory)
    unmatched = {entry.name: entry for entry in release.contents.entries}
    for entry in checked.entries:
        stated = unmatched.pop(entry.name, None)
        if stated is None:
            yield Problem(entry.name, "is missing from the release")
        elif not _is_same(release, stated, checked.path(entry.name)):
            yield Problem(entry.name, "has other bytes than the one that was checked")
    for name in unmatched:
        if not name.startswith("."):  # the hub adds .gitattributes
            yield Problem(name, "is not in the directory that was checked")


def _is_same(release: OpenedRelease, stated: ListedFile, path: Path) -> bool:
    if stated.size is not None and stated.size != path.stat().st_size:
        return False
    if stated.sha256 is not None:
        return hash_file(path) == stated.sha256
    if stated.blob is not None:
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return blob.hexdigest() == stated.blob
    return hash_file(release.contents.path(stated.name)) == hash_file(path)
