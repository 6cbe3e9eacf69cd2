"""The body of a commit request: ndjson in, changed and deleted files out."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zooalign.testing._http import Refusal
from zooalign.testing._model import Entry, safe_path

__all__ = ["Change", "parse"]


@dataclass(frozen=True)
class Change:
    """A commit as asked for; paths deleted are checked against the tree by :meth:`gone`."""

    title: str
    message: str
    parent: str | None
    files: Mapping[str, Entry]
    deleted_files: tuple[str, ...]
    deleted_folders: tuple[str, ...]

    def gone(self, files: Mapping[str, Entry]) -> set[str]:
        """The paths of ``files`` that the commit deletes.

        Raises
        ------
        Refusal
            404 EntryNotFound, when there is nothing of that name.
        """
        deleted = set()
        for path in self.deleted_files:
            if path not in files:
                raise Refusal(404, f"{path} does not exist and cannot be deleted", "EntryNotFound")
            deleted.add(path)
        for folder in self.deleted_folders:
            inside = {path for path in files if path.startswith(f"{folder}/")}
            if not inside:
                message = f"{folder}/ does not exist and cannot be deleted"
                raise Refusal(404, message, "EntryNotFound")
            deleted |= inside
        return deleted


def parse(raw: bytes, regular: Callable[[bytes], Entry], large: Callable[[str], Entry]) -> Change:
    """Read the ndjson of a commit.

    Parameters
    ----------
    raw:
        The body.
    regular:
        Stores the content of a regular file.
    large:
        Finds an uploaded LFS object by its sha256.

    Raises
    ------
    Refusal
        400, for anything malformed.
    """
    header: dict[str, Any] | None = None
    files: dict[str, Entry] = {}
    deleted: dict[str, list[str]] = {"deletedFile": [], "deletedFolder": []}
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                header = dict(value)
            elif key == "file":
                files[safe_path(value["path"])] = regular(_content(value))
            elif key == "lfsFile":
                files[safe_path(value["path"])] = large(value["oid"])
            elif key in deleted:
                deleted[key].append(safe_path(value["path"].rstrip("/")))
            else:
                raise Refusal(400, f"line {number}: unknown key {key!r}")
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise Refusal(400, f"line {number} of the commit is malformed: {error}") from None
    if header is None or not str(header.get("summary") or "").strip():
        raise Refusal(400, "the commit has no header with a summary")
    return Change(
        title=str(header["summary"]),
        message=str(header.get("description") or ""),
        parent=header.get("parentCommit"),
        files=files,
        deleted_files=tuple(deleted["deletedFile"]),
        deleted_folders=tuple(deleted["deletedFolder"]),
    )


def _content(value: Mapping[str, Any]) -> bytes:
    content: str = value["content"]
    if value.get("encoding", "utf-8") == "base64":
        return base64.b64decode(content, validate=True)
    return content.encode()
