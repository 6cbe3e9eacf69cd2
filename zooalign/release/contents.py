"""The files of a release, wherever it is: listed first, read by their first bytes, or whole."""

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from zooalign.errors import CheckpointError, HubError
from zooalign.zoo import hub
from zooalign.zoo.files import safe_name

__all__ = [
    "Contents",
    "HubContents",
    "ListedFile",
    "LocalContents",
    "PublishedFile",
    "hash_file",
    "heads",
    "is_inside",
    "list_files",
    "open_repo",
]

_WORKERS = 8
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class ListedFile:
    """A file: its name, bytes, and what the hub states of it.

    ``sha256`` is stated for large files, ``blob`` (git's SHA-1 of a blob) for the others.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True)
class LocalContents:
    """A directory; hidden files are not published and so not part of it."""

    directory: Path
    entries: tuple[ListedFile, ...]
    unsafe: tuple[str, ...] = ()

    @classmethod
    def of(cls, directory: Path) -> "LocalContents":
        """List a directory."""
        entries = []
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if any(part.startswith(".") for part in name.parts):
                continue
            if path.is_symlink() or path.is_file():
                entries.append(
                    ListedFile(name.as_posix(), path.stat().st_size if path.exists() else None)
                )
        return cls(directory, tuple(entries))

    def path(self, name: str) -> Path:
        """Where a file lies; links out of the directory are refused."""
        path = self.directory / name
        if not is_inside(self.directory, path):
            raise CheckpointError(f"{name} is a link out of the directory, and is not read")
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{name} is not an ordinary file, and is not read")
        return path

    def here(self, name: str) -> Path | None:
        """As :meth:`path`: nothing is fetched."""
        return self.path(name)

    def head(self, name: str, count: int) -> bytes:
        """The first ``count`` bytes of a file, or all where it has fewer."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise CheckpointError(f"{name} cannot be read: {error.strerror or error}") from error


def is_inside(directory: Path, path: Path) -> bool:
    """Whether a path stays in a directory, links followed.

    The hub's own cache is the exception: its snapshots consist of links to ``../../blobs``.
    """
    root = directory.resolve()
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    return any(path.resolve().is_relative_to(folder) for folder in allowed)


@dataclass(frozen=True)
class HubContents:
    """A repo at one commit; ``unsafe`` are names that would leave a directory, never asked for."""

    repo: hub.HubRepo
    entries: tuple[ListedFile, ...]
    unsafe: tuple[str, ...] = ()
    _fetched: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    def path(self, name: str) -> Path:
        """Where a file lies, fetched if need be."""
        if name not in self._fetched:  # the client asks the hub again each time
            [self._fetched[name]] = hub.fetch(self.repo, [safe_name(name)])
        return self._fetched[name]

    def here(self, name: str) -> Path | None:
        """Where a file lies in the cache; None if it is not there."""
        cached = try_to_load_from_cache(
            self.repo.repo_id, safe_name(name), revision=self.repo.commit
        )
        return Path(cached) if isinstance(cached, str) else None

    def head(self, name: str, count: int) -> bytes:
        """As of a directory, by a range request where the file is not cached."""
        cached = self.here(name)
        if cached is not None:
            with cached.open("rb") as file:
                return file.read(count)
        sizes = {entry.name: entry.size for entry in self.entries}
        if not count or sizes.get(name) == 0:
            return b""
        url = hf_hub_url(
            self.repo.repo_id, name, revision=self.repo.commit, endpoint=hub.endpoint()
        )
        headers = {"range": f"bytes=0-{count - 1}", "accept-encoding": "identity"}
        content = bytearray()
        with (
            hub.hub_errors(self.repo.repo_id, self.repo.commit),
            http_stream_backoff(
                "GET", url, headers={**build_hf_headers(), **headers}, timeout=_TIMEOUT
            ) as response,
        ):
            hf_raise_for_status(response)
            # A server that knows no ranges sends everything: read no more than was asked for.
            for chunk in response.iter_raw():
                content += chunk
                if len(content) >= count:
                    break
        return bytes(content[:count])


Contents = LocalContents | HubContents


def heads(contents: Contents, names: Sequence[str], count: int) -> dict[str, bytes]:
    """The first bytes of many files, several at a time."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        return dict(
            zip(names, pool.map(lambda name: contents.head(name, count), names), strict=True)
        )


def open_repo(repo_id: str, revision: str | None) -> tuple[hub.HubRepo, Contents]:
    """List a repo; nothing is downloaded. Offline, what the cache holds of it."""
    repo = hub.resolve(repo_id, revision)
    with hub.hub_errors(repo_id, revision):
        try:
            info = HfApi(endpoint=hub.endpoint()).model_info(
                repo_id, revision=repo.commit, files_metadata=True
            )
        except OfflineModeIsEnabled:
            info = None
    if info is None:
        cached = try_to_load_from_cache(repo_id, "config.json", revision=repo.commit)
        if not isinstance(cached, str):
            raise HubError(f"{repo_id}: not in the local cache, and HF_HUB_OFFLINE is set")
        return repo, LocalContents.of(Path(cached).parent)
    entries, unsafe = [], []
    for sibling in sorted(info.siblings or [], key=lambda s: s.rfilename):
        try:
            safe_name(sibling.rfilename)
        except CheckpointError:
            unsafe.append(sibling.rfilename)
            continue
        sha256 = sibling.lfs.sha256 if sibling.lfs is not None else None
        size = sibling.lfs.size if sibling.lfs is not None else sibling.size
        entries.append(ListedFile(sibling.rfilename, size, sha256, sibling.blob_id))
    names = tuple(entry.name for entry in entries)
    return dataclasses.replace(repo, names=names), HubContents(repo, tuple(entries), tuple(unsafe))


@dataclass(frozen=True)
class PublishedFile:
    """A file: its path in the repo, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


def list_files(directory: Path) -> tuple[PublishedFile, ...]:
    """Every file of ``directory`` by path, but for hidden files and folders.

    Raises
    ------
    CheckpointError
        If it is not a directory or holds nothing, or a link leads out of it.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: there is no such directory")
    root = directory.resolve()
    files = []
    for entry in LocalContents.of(directory).entries:
        path = directory / entry.name
        if not path.resolve().is_relative_to(root):
            raise CheckpointError(
                f"{path}: is a link out of the directory, and what it points to is not published; "
                "replace it by the file itself"
            )
        if path.is_file():
            files.append(PublishedFile(entry.name, path.stat().st_size, hash_file(path)))
    if not files:
        raise CheckpointError(f"{directory}: holds no files to publish")
    return tuple(files)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
