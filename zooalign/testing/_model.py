"""The values a hub holds: files, commits, discussions, repositories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from zooalign.testing._http import Refusal

__all__ = ["Commit", "Discussion", "Entry", "Repo", "git_oid", "now", "pointer", "safe_path"]

MAIN = "refs/heads/main"


def now() -> str:
    """The time as the Hub writes it: UTC, milliseconds, ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_oid(data: bytes) -> str:
    """The id git gives to a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The Git LFS pointer file of an object."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return text.encode()


def safe_path(path: object) -> str:
    """``path`` if it is a path within a repository.

    Raises
    ------
    Refusal
        400, for absolute paths, ``..``, ``.git``, backslashes and NUL.
    """
    bad = ("", ".", "..", ".git")
    if not isinstance(path, str) or any(part.lower() in bad for part in path.split("/")):
        raise Refusal(400, f"not a path within a repository: {path!r}")
    if "\\" in path or "\0" in path or len(path) > 1024:
        raise Refusal(400, f"not a path within a repository: {path!r}")
    return path


@dataclass(frozen=True)
class Entry:
    """One file of a commit; the content is the blob ``sha256`` of the store."""

    sha256: str
    size: int
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the Hub uses as ETag and for "unchanged": sha256 for LFS, else git's id."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A whole tree with its parent; ``files`` maps path to entry."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, Entry]

    @staticmethod
    def make(
        files: Mapping[str, Entry], title: str, message: str, author: str, parent: str | None
    ) -> Commit:
        """A commit with its id computed from everything in it."""
        files = dict(sorted(files.items()))
        for path in files:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if "/".join(parts[:depth]) in files:
                    raise Refusal(400, f"{'/'.join(parts[:depth])!r} is a file and a folder")
        date = now()
        tree = [(path, entry.sha256, entry.lfs) for path, entry in files.items()]
        raw = json.dumps([tree, title, message, author, parent, date])
        oid = hashlib.sha1(raw.encode()).hexdigest()
        return Commit(oid, parent, title, message, author, date, files)


@dataclass(frozen=True)
class Discussion:
    """A discussion or a pull request; a PR's commits are those of ``refs/pr/{num}``."""

    num: int
    title: str
    author: str
    created: str
    status: str
    is_pull_request: bool
    events: tuple[Mapping[str, Any], ...] = ()
    merge_commit: str | None = None

    def with_event(self, kind: str, author: str, data: Mapping[str, Any]) -> Discussion:
        """The discussion with one more event."""
        event = {
            "id": f"{self.num:08x}{len(self.events):016x}",
            "type": kind,
            "createdAt": now(),
            "author": {"name": author},
            "data": dict(data),
        }
        return replace(self, events=(*self.events, event))


@dataclass
class Repo:
    """A repository; changed only by :class:`~zooalign.testing._store.Store`, under its lock."""

    kind: str
    id: str
    private: bool
    gated: bool
    created: str
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    discussions: dict[int, Discussion] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The user or organisation that owns the repository."""
        return self.id.partition("/")[0]

    @property
    def url_path(self) -> str:
        """Path of the repository's page: ``/ns/name`` or ``/datasets/ns/name``."""
        return f"/{self.id}" if self.kind == "models" else f"/{self.kind}/{self.id}"

    def ref_name(self, revision: str) -> str | None:
        """The full name of a branch, tag or PR ref; None if there is none."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return name
        return None

    def commit(self, revision: str) -> Commit:
        """The commit a branch, tag, PR ref or full commit id stands for.

        Raises
        ------
        Refusal
            404 RevisionNotFound.
        """
        name = self.ref_name(revision)
        oid = self.refs[name] if name is not None else revision
        if oid not in self.commits:
            message = f"Invalid rev id: {revision}"
            raise Refusal(404, message, "RevisionNotFound")
        return self.commits[oid]

    def history(self, oid: str | None) -> Iterator[Commit]:
        """The commit and its ancestors, newest first."""
        while oid is not None:
            commit = self.commits[oid]
            yield commit
            oid = commit.parent

    def merge_base(self, ours: str, theirs: str) -> Commit:
        """The newest commit of ``theirs`` that ``ours`` has too."""
        known = {commit.oid for commit in self.history(ours)}
        return next(commit for commit in self.history(theirs) if commit.oid in known)

    def entry(self, revision: str, path: str) -> tuple[Commit, Entry]:
        """A file at a revision.

        Raises
        ------
        Refusal
            404 RevisionNotFound or EntryNotFound.
        """
        commit = self.commit(revision)
        if path not in commit.files:
            message = f"{path} does not exist on {revision!r}"
            raise Refusal(404, message, "EntryNotFound", {"X-Repo-Commit": commit.oid})
        return commit, commit.files[path]
