"""Xet storage without a storage service: folders that hf_xet's ``local://`` client uses.

hf_xet opens a folder exclusively, so every upload and every download gets one of its own. An
upload is located by its sha256 in the shards the client left behind, read back through
hf_xet, checked, and stored as a blob like any other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zooalign.testing._http import Refusal
from zooalign.testing._store import Store

__all__ = ["XetStore", "shard_files"]

_FOLDER = Path("xet") / "xorbs"
_RECORD = 48
_HAS_VERIFICATION, _HAS_SHA256 = 1 << 31, 1 << 30
_LAST = b"\xff" * 32


def _hex(raw: bytes) -> str:
    # A hash is four little-endian 64-bit words, written in hexadecimal one after the other.
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def shard_files(data: bytes) -> Iterator[tuple[str, str]]:
    """``(sha256, xet hash)`` of the files described in a shard (``*.mdb``) of Xet storage.

    The format is xet-core's ``mdb_shard``: a header of 48 bytes, then for each file records of
    48 bytes: hash, flags and number of segments; the segments; as many verification records if
    flagged; a record with the sha256 if flagged.
    """
    at = _RECORD
    while at + _RECORD <= len(data) and data[at : at + 32] != _LAST:
        xet_hash = _hex(data[at : at + 32])
        flags, count = struct.unpack_from("<II", data, at + 32)
        at += _RECORD * (1 + count * (2 if flags & _HAS_VERIFICATION else 1))
        if flags & _HAS_SHA256:
            if at + 32 <= len(data):
                yield _hex(data[at : at + 32]), xet_hash
            at += _RECORD


class XetStore:
    """Uploads and downloads by Xet under ``root/xet``; contents live in the blob store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.root / "xet"
        self._lock = threading.Lock()
        (self._root / "hashes").mkdir(parents=True, exist_ok=True)
        for left in self._root.glob("*-*"):  # by a hub that ran on this folder before
            shutil.rmtree(left, ignore_errors=True)

    def hash_of(self, sha256: str) -> str | None:
        """The Xet hash of a blob that came by Xet."""
        path = self._root / "hashes" / sha256
        return path.read_text() if path.is_file() else None

    def new_upload(self) -> str:
        """Address of an empty storage folder."""
        return _address(self._folder("up"))

    def new_download(self, blobs: list[str]) -> str:
        """Address of a storage folder with those of the blobs that came by Xet."""
        folder = self._folder("down")
        from_xet = [sha256 for sha256 in blobs if self.hash_of(sha256)]
        if from_xet:
            commit = _session().new_upload_commit(**_access(folder))
            with commit:
                handles = [
                    commit.start_upload_file(str(self._store.blob(sha256)), sha256=sha256)
                    for sha256 in from_xet
                ]
            for sha256, handle in zip(from_xet, handles, strict=True):
                if handle.result().xet_info.hash != self.hash_of(sha256):
                    raise Refusal(500, f"hf_xet gives blob {sha256} another hash than at upload")
        return _address(folder)

    def ingest(self, sha256: str) -> None:
        """Make a blob of what a client uploaded by Xet; nothing happens if there is none."""
        with self._lock:
            shard = self._find(sha256)
            if shard is None:
                return
            source, xet_hash = shard
            folder = self._folder("in")
            try:
                self._read(source, folder, sha256, xet_hash)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            aside = self._root / "hashes" / f"{sha256}.tmp"
            aside.write_text(xet_hash)
            aside.replace(aside.with_suffix(""))

    def _read(self, source: Path, folder: Path, sha256: str, xet_hash: str) -> None:
        # The client may still hold the folder; a copy can be opened (its large files are links).
        shutil.copytree(source / _FOLDER, folder / _FOLDER, copy_function=_link)
        target = folder / "content"
        with _session().new_file_download_group(**_access(folder)) as group:
            group.start_download_file(_hf_xet().XetFileInfo(xet_hash, None), str(target))
        with target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise Refusal(400, f"the Xet upload of {sha256} has another content")
            file.seek(0)
            self._store.put(lambda out: shutil.copyfileobj(file, out), sha256)

    def _find(self, sha256: str) -> tuple[Path, str] | None:
        for folder in sorted(self._root.glob("up-*")):
            for shard in sorted((folder / _FOLDER / "shards").glob("*.mdb")):
                for content, xet_hash in shard_files(shard.read_bytes()):
                    if content == sha256:
                        return folder, xet_hash
        return None

    def _folder(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self._root))


def _link(source: str, target: str) -> str:
    # The database is written in place and must be copied; xorbs and shards never change.
    if source.endswith(".redb"):
        return str(shutil.copy2(source, target))
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _address(folder: Path) -> str:
    return f"local://{folder.resolve()}"


def _access(folder: Path) -> dict[str, Any]:
    expires = int(time.time()) + 3600
    return {"endpoint": _address(folder), "token": "loopback", "token_expiry_unix_secs": expires}


def _hf_xet() -> Any:
    if importlib.util.find_spec("hf_xet") is None:
        message = "the hub's process lacks hf_xet: install it, or set HF_HUB_DISABLE_XET=1"
        raise Refusal(500, message)
    return importlib.import_module("hf_xet")


def _session() -> Any:
    return _hf_xet().XetSession()
