"""Discussions and pull requests: what changes, without HTTP."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from zooalign.testing._http import Refusal
from zooalign.testing._model import MAIN, Commit, Discussion, Entry, Repo, now
from zooalign.testing._store import Store

__all__ = [
    "add_commit",
    "comment",
    "conflicts",
    "diff",
    "merge",
    "open_pull",
    "set_status",
    "start",
]

_DIFF_SIZE = 1 << 20


def start(
    store: Store, repo: Repo, title: str, text: str, user: str, *, pull_request: bool
) -> Discussion:
    """A new discussion; a pull request is a draft from the end of main."""
    if pull_request:
        return open_pull(store, repo, title, text, user, repo.refs[MAIN])
    with store.lock:
        return _save(store, repo, _new(repo, title, text, user, "open", False))


def open_pull(store: Store, repo: Repo, title: str, text: str, user: str, base: str) -> Discussion:
    """A new pull request (a draft) whose ref points to commit ``base``."""
    with store.lock:
        pull = _new(repo, title, text, user, "draft", True)
        store.advance(repo, f"refs/pr/{pull.num}", repo.commits[base])
        return _save(store, repo, pull)


def _new(
    repo: Repo, title: str, text: str, user: str, status: str, pull_request: bool
) -> Discussion:
    if not title.strip():
        raise Refusal(400, "a discussion needs a title")
    num = max(repo.discussions, default=0) + 1
    opened = Discussion(num, title, user, now(), status, pull_request)
    return opened.with_event("comment", user, _comment(text))


def _comment(text: str) -> dict[str, object]:
    latest = {"raw": text, "html": "", "updatedAt": now()}
    return {"edited": False, "hidden": False, "latest": latest, "history": []}


def find(repo: Repo, num: int) -> Discussion:
    """A discussion by number.

    Raises
    ------
    Refusal
        404.
    """
    if num not in repo.discussions:
        raise Refusal(404, f"Discussion {num} not found")
    return repo.discussions[num]


def comment(store: Store, repo: Repo, num: int, text: str, user: str) -> Discussion:
    """Add a comment."""
    with store.lock:
        return _save(store, repo, find(repo, num).with_event("comment", user, _comment(text)))


def set_title(store: Store, repo: Repo, num: int, title: str, user: str) -> Discussion:
    """Change the title."""
    with store.lock:
        old = find(repo, num)
        data = {"from": old.title, "to": title}
        return _save(store, repo, replace(old, title=title).with_event("title-change", user, data))


def set_status(store: Store, repo: Repo, item: Discussion, status: str, user: str) -> Discussion:
    """Open or close."""
    if status not in ("open", "closed"):
        raise Refusal(400, f"no such status: {status!r}")
    with store.lock:
        item = find(repo, item.num)
        if item.status == "merged":
            raise Refusal(400, "a merged pull request cannot be opened or closed")
        changed = replace(item, status=status)
        return _save(store, repo, changed.with_event("status-change", user, {"status": status}))


def add_commit(store: Store, repo: Repo, num: int, commit: Commit) -> Discussion:
    """Note a commit pushed to the pull request's ref."""
    with store.lock:
        data = {"subject": commit.title, "oid": commit.oid}
        return _save(store, repo, find(repo, num).with_event("commit", commit.author, data))


def _sides(repo: Repo, num: int) -> tuple[Commit, Commit, Commit]:
    main, head = repo.commits[repo.refs[MAIN]], repo.commits[repo.refs[f"refs/pr/{num}"]]
    return repo.merge_base(main.oid, head.oid), main, head


def _changes(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> dict[str, Entry | None]:
    return {p: new.get(p) for p in sorted({*old, *new}) if old.get(p) != new.get(p)}


def conflicts(repo: Repo, num: int) -> list[str]:
    """Files that both main and the pull request changed, to different ends."""
    base, main, head = _sides(repo, num)
    ours, theirs = _changes(base.files, main.files), _changes(base.files, head.files)
    return [path for path in theirs if path in ours and ours[path] != theirs[path]]


def merge(store: Store, repo: Repo, num: int, user: str) -> Discussion:
    """Put the pull request's changes on main as one commit.

    Raises
    ------
    Refusal
        400 when it is not open, 409 on conflicts.
    """
    with store.lock:
        item = find(repo, num)
        if not item.is_pull_request or item.status != "open":
            raise Refusal(400, f"#{num} is not an open pull request (it is {item.status})")
        if paths := conflicts(repo, num):
            raise Refusal(409, f"conflicts with main in {', '.join(paths)}")
        base, _, head = _sides(repo, num)
        changes = _changes(base.files, head.files)
        merge = store.commit(
            repo,
            MAIN,
            f"{item.title} (#{num})",
            "",
            user,
            {path: entry for path, entry in changes.items() if entry is not None},
            [path for path, entry in changes.items() if entry is None],
        )
        changed = replace(item, status="merged", merge_commit=merge.oid)
        return _save(store, repo, changed.with_event("status-change", user, {"status": "merged"}))


def diff(store: Store, repo: Repo, num: int) -> str:
    """The pull request's changes as a unified diff (text files up to 1 MiB; else a line)."""
    base, _, head = _sides(repo, num)
    parts = []
    for path, entry in _changes(base.files, head.files).items():
        parts.append(f"diff --git a/{path} b/{path}\n")
        texts = [_lines(store, side) for side in (base.files.get(path), entry)]
        if texts[0] is None or texts[1] is None:
            parts.append(f"Binary files a/{path} and b/{path} differ\n")
        else:
            parts += difflib.unified_diff(texts[0], texts[1], f"a/{path}", f"b/{path}")
    return "".join(parts)


def _lines(store: Store, entry: Entry | None) -> list[str] | None:
    if entry is None:
        return []
    if entry.lfs or entry.size > _DIFF_SIZE:
        return None
    text = store.blob(entry.sha256).read_bytes().decode("utf-8", errors="replace")
    return [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]


def _save(store: Store, repo: Repo, item: Discussion) -> Discussion:
    repo.discussions[item.num] = item
    store.save(repo)
    return item
