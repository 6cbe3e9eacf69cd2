"""Repositories and content-addressed blobs in a folder on disk.

::

    blobs/ab/abcdef...                    content, named by its sha256
    repos/models/ns/name/repo.json        references, discussions, visibility
    repos/models/ns/name/commits/OID.json one commit with its whole tree
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from zooalign.testing._http import Refusal
from zooalign.testing._model import MAIN, Commit, Discussion, Entry, Repo, git_oid, now, pointer

__all__ = ["KINDS", "Store"]

KINDS = ("models", "datasets", "spaces")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("bin", "ckpt", "npz", "onnx", "pt", "pth", "safetensors", "zip")
).encode()


class Store:
    """All repositories under ``root``; every method may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self._repos: dict[tuple[str, str], Repo] = {}
        self.temp = root / "tmp"
        self.temp.mkdir(parents=True, exist_ok=True)
        for file in sorted((root / "repos").glob("*/*/*/repo.json")):
            repo = _load(file)
            self._repos[repo.kind, repo.id] = repo

    # blobs

    def blob(self, sha256: str) -> Path:
        """Where a blob lies, or would lie."""
        return self.root / "blobs" / sha256[:2] / sha256

    def put(self, write: Callable[[BinaryIO], object], sha256: str | None = None) -> str:
        """Store what ``write`` writes and return its sha256.

        Raises
        ------
        Refusal
            400, when ``sha256`` is given and the content has another one.
        """
        handle, name = tempfile.mkstemp(dir=self.temp)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 not in (None, digest):
                raise Refusal(400, f"the content has sha256 {digest}, not {sha256}")
            target = self.blob(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)
        return digest

    def regular(self, data: bytes) -> Entry:
        """Store the content of a regular file."""
        sha256 = self.put(lambda file: file.write(data))
        return Entry(sha256, len(data), git_oid(data), lfs=False)

    def large(self, sha256: str) -> Entry:
        """The LFS entry of a blob that is in the store.

        Raises
        ------
        Refusal
            400, when it is not.
        """
        if not re.fullmatch("[0-9a-f]{64}", sha256) or not self.blob(sha256).is_file():
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        size = self.blob(sha256).stat().st_size
        return Entry(sha256, size, git_oid(pointer(sha256, size)), lfs=True)

    # repositories

    def create(self, kind: str, repo_id: str, private: bool, author: str) -> Repo:
        """A new repository with the first commit the Hub makes (``.gitattributes``).

        Raises
        ------
        Refusal
            400 for a bad name, 409 when it exists.
        """
        parts = repo_id.split("/")
        named = all(_NAME.fullmatch(part) and ".." not in part for part in parts)
        if kind not in KINDS or len(parts) != 2 or not named:
            raise Refusal(400, f"Invalid repository name: {repo_id!r} ({kind})")
        with self.lock:
            if (kind, repo_id) in self._repos:
                raise Refusal(409, f"You already created this {kind[:-1]} repo")
            repo = Repo(kind, repo_id, private, gated=False, created=now())
            self._repos[kind, repo_id] = repo
            files = {".gitattributes": self.regular(_GITATTRIBUTES)}
            first = Commit.make(files, "initial commit", "", author, None)
            self.advance(repo, MAIN, first)
        return repo

    def delete(self, repo: Repo) -> None:
        """Forget a repository (blobs stay)."""
        with self.lock:
            self._repos.pop((repo.kind, repo.id), None)
            shutil.rmtree(self._folder(repo), ignore_errors=True)

    def find(self, kind: str, repo_id: str) -> Repo | None:
        """A repository by kind and id."""
        with self.lock:
            return self._repos.get((kind, repo_id))

    def repos(self, kind: str) -> list[Repo]:
        """All repositories of a kind, by id."""
        with self.lock:
            return sorted((r for r in self._repos.values() if r.kind == kind), key=lambda r: r.id)

    def advance(self, repo: Repo, ref: str, commit: Commit) -> None:
        """Add a commit and let ``ref`` point to it."""
        with self.lock:
            repo.commits[commit.oid] = commit
            repo.refs[ref] = commit.oid
            _write(self._folder(repo) / "commits" / f"{commit.oid}.json", asdict(commit))
            self.save(repo)

    def save(self, repo: Repo) -> None:
        """Write references and discussions to disk."""
        with self.lock:
            value = {
                "kind": repo.kind,
                "id": repo.id,
                "private": repo.private,
                "gated": repo.gated,
                "created": repo.created,
                "refs": repo.refs,
                "discussions": [asdict(item) for item in repo.discussions.values()],
            }
            _write(self._folder(repo) / "repo.json", value)

    def commit(
        self,
        repo: Repo,
        ref: str,
        title: str,
        message: str,
        author: str,
        changed: Mapping[str, Entry],
        deleted: Iterable[str] = (),
        parent: str | None = None,
    ) -> Commit:
        """A commit with files changed and deleted, on the end of ``ref``.

        Raises
        ------
        Refusal
            412 when ``parent`` is given and is not what ``ref`` points to.
        """
        with self.lock:
            head = repo.commits[repo.refs[ref]]
            if parent is not None and not (len(parent) >= 7 and head.oid.startswith(parent)):
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            gone = set(deleted)
            files = {path: entry for path, entry in head.files.items() if path not in gone}
            new = Commit.make({**files, **changed}, title, message, author, head.oid)
            self.advance(repo, ref, new)
        return new

    def _folder(self, repo: Repo) -> Path:
        return self.root / "repos" / repo.kind / repo.id


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.replace(path)


def _load(file: Path) -> Repo:
    value = json.loads(file.read_text(encoding="utf-8"))
    repo = Repo(value["kind"], value["id"], value["private"], value["gated"], value["created"])
    repo.refs.update(value["refs"])
    for item in value["discussions"]:
        repo.discussions[item["num"]] = Discussion(**{**item, "events": tuple(item["events"])})
    for path in (file.parent / "commits").glob("*.json"):
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {name: Entry(**entry) for name, entry in raw["files"].items()}
        repo.commits[raw["oid"]] = Commit(**{**raw, "files": files})
    return repo
