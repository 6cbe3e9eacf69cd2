"""Where a model of an operation comes from, and by what licence."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    Attributes
    ----------
    role:
        ``target`` or ``source`` of an alignment, ``parent`` of a merge.
    reference:
        As the user typed it, in normal form.
    kind:
        ``hub`` or ``local``.
    repo, commit:
        Of a hub repo: its name and the resolved commit.
    license:
        From the repo's or directory's model card, None if it says nothing.
    files:
        The files of weights.
    ancestors:
        Of a local directory that zooalign made: the hub repos it came from.
    """

    role: str
    reference: str
    kind: str
    repo: str | None
    commit: str | None
    license: str | None
    files: tuple[FileFact, ...]
    ancestors: tuple[Ancestor, ...] = field(default=())

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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            **{k: v for k, v in vars(self).items() if k not in ("files", "ancestors")},
            "files": [dict(vars(file)) for file in self.files],
            "ancestors": [dict(vars(ancestor)) for ancestor in self.ancestors],
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Source":
        """Read back; KeyError, TypeError or ValueError if it is malformed."""
        texts = {name: _text(body[name]) for name in ("role", "reference", "kind")}
        maybe = {
            n: None if body[n] is None else _text(body[n]) for n in ("repo", "commit", "license")
        }
        files = tuple(
            FileFact(_text(f["name"]), int(f["size"]), _text(f["sha256"])) for f in body["files"]
        )
        return cls(**texts, **maybe, files=files, ancestors=_ancestors(body["ancestors"]))  # type: ignore[arg-type]


def source_of(model: Model, role: str) -> Source:
    """Describe an opened model; its files are hashed.

    Raises
    ------
    HubError
        If a downloaded file is not the one the hub states.
    """
    facts = model.source
    files = tuple(FileFact(f["name"], f["size"], f["sha256"]) for f in facts.get("files", ()))
    if facts["kind"] == "hub":
        return Source(
            role,
            model.reference,
            "hub",
            facts["repo"],
            facts["commit"],
            facts["license"],
            files,
        )
    license_: str | None = None
    ancestors: tuple[Ancestor, ...] = ()
    if model.directory is not None:
        license_ = _card_license(model.directory)
        ancestors = _directory_ancestors(model.directory)
    return Source(role, model.reference, "local", None, None, license_, files, ancestors)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _ancestors(body: Any) -> tuple[Ancestor, ...]:
    return tuple(
        Ancestor(
            _text(a["repo"]),
            _text(a["commit"]),
            None if a["license"] is None else _text(a["license"]),
        )
        for a in body
    )


def _card_license(directory: Path) -> str | None:
    path = directory / CARD
    try:
        if not path.is_file() or path.stat().st_size > _MAX:
            return None
        value = read_metadata(path.read_text(encoding="utf-8")).get("license")
    except (OSError, ValueError, SpecError):
        return None
    return value if isinstance(value, str) else None


def _directory_ancestors(directory: Path) -> tuple[Ancestor, ...]:
    path = directory / PROVENANCE
    try:
        if not path.is_file() or path.stat().st_size > _MAX:
            return ()
        body = json.loads(path.read_text(encoding="utf-8"))
        sources = [Source.from_dict(entry) for entry in body["sources"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(dict.fromkeys(repo for source in sources for repo in source.repos))
