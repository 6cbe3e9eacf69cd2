"""Where a model of an operation comes from, and by what licence."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from zooalign.errors import SpecError
from zooalign.release.front_matter import read_metadata
from zooalign.release.layout import CARD, PROVENANCE
from zooalign.zoo.models import Model

__all__ = ["Ancestor", "FileFact", "Source", "source_of"]

_MAX = 20_000_000


@dataclass(frozen=True)
class FileFact:
    """One file of weights: name, bytes, SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Ancestor:
    """A hub repo that a local source was itself made from."""

    repo: str
    commit: str
    license: str | None = None


@dataclass(frozen=True)
class Source:
    """A model that went into an operation.

    ``role`` is ``target`` or ``source`` of an alignment, ``parent`` of a merge; ``kind`` is ``hub``
    or ``local``; ``reference`` is what the user typed, in normal form. ``repo`` and the resolved
    ``commit`` are those of a hub repo. ``license`` is what the model card states, None if nothing.
    ``ancestors`` are the hub repos behind a local directory that zooalign wrote.
    """

    role: str
    reference: str
    kind: str
    repo: str | None
    commit: str | None
    license: str | None
    files: tuple[FileFact, ...]
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def repos(self) -> tuple[Ancestor, ...]:
        """The hub repos behind this source: itself, or its ancestors."""
        if self.repo is not None and self.commit is not None:
            return (Ancestor(self.repo, self.commit, self.license),)
        return self.ancestors

    @property
    def pinned(self) -> str:
        """A reference to it at exactly the commit that was used."""
        if self.kind == "hub" and self.repo and self.commit:
            return f"hub:{self.repo}@{self.commit}"
        return self.reference


class _Recorded(msgspec.Struct):
    """The part of a provenance that names its sources."""

    sources: tuple[Source, ...]


def source_of(model: Model, role: str) -> Source:
    """Describe an opened model; HubError if a downloaded file is not the one the hub states."""
    facts = model.source
    files = tuple(FileFact(f["name"], f["size"], f["sha256"]) for f in facts.get("files", ()))
    if facts["kind"] == "hub":
        repo = (facts["repo"], facts["commit"], facts["license"])
        return Source(role, model.reference, "hub", *repo, files)
    if model.directory is None:
        return Source(role, model.reference, "local", None, None, None, files)
    license_, ancestors = _card_license(model.directory), _directory_ancestors(model.directory)
    return Source(role, model.reference, "local", None, None, license_, files, ancestors)


def _text(path: Path) -> str:
    """A file's text, empty if there is none of a sensible size."""
    try:
        is_small = path.is_file() and path.stat().st_size <= _MAX
        return path.read_text(encoding="utf-8") if is_small else ""
    except (OSError, ValueError):
        return ""


def _card_license(directory: Path) -> str | None:
    try:
        value = read_metadata(_text(directory / CARD)).get("license")
    except SpecError:
        return None
    return value if isinstance(value, str) else None


def _directory_ancestors(directory: Path) -> tuple[Ancestor, ...]:
    try:
        sources = msgspec.json.decode(_text(directory / PROVENANCE), type=_Recorded).sources
    except (ValueError, RecursionError):
        return ()
    return tuple(dict.fromkeys(repo for source in sources for repo in source.repos))
