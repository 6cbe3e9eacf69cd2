"""Reading repos of a Hugging Face hub: a commit is resolved once, files are fetched by it."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zooalign.errors import HubError, ZooalignError
from zooalign.zoo.layout import CONFIG_NAME

__all__ = ["HubRepo", "endpoint", "fetch", "hub_errors", "resolve", "without_token"]


@dataclass(frozen=True)
class HubRepo:
    """A repo at one commit.

    ``hashes`` are the sha256 that the hub states for large files, ``blobs`` git's ids of the
    others; ``revision`` is the requested one, None for the main branch.
    """

    repo_id: str
    revision: str | None
    commit: str
    names: tuple[str, ...]
    license: str | None
    hashes: tuple[tuple[str, str], ...] = ()
    blobs: tuple[tuple[str, str], ...] = ()
    token: str | None = field(default=None, repr=False, compare=False)
    cache_dir: Path | None = field(default=None, repr=False, compare=False)


def endpoint() -> str | None:
    """The hub to talk to, from ``HF_ENDPOINT`` at this moment; None is the client's default."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def resolve(
    repo_id: str,
    revision: str | None,
    *,
    token: str | None = None,
    cache_dir: Path | None = None,
) -> HubRepo:
    """The commit and file names of ``repo_id`` at ``revision`` (default: its main branch).

    With ``HF_HUB_OFFLINE`` set, the commit is the one in the local cache.

    Raises
    ------
    HubError
        With what to try: the repo, revision or file is missing, gated, the token is bad, the hub
        cannot be reached.
    """
    with hub_errors(repo_id, revision):
        try:
            info = HfApi(endpoint=endpoint(), token=token).model_info(
                repo_id, revision=revision, files_metadata=True
            )
        except OfflineModeIsEnabled:
            return _resolve_cached(repo_id, revision, cache_dir)
        if not info.sha:
            raise HubError(f"{repo_id}: the hub names no commit for {revision or 'main'}")
        siblings = info.siblings or []
        return HubRepo(
            repo_id,
            revision,
            info.sha,
            tuple(sorted(sibling.rfilename for sibling in siblings)),
            _license(info.card_data),
            tuple((s.rfilename, s.lfs.sha256) for s in siblings if s.lfs is not None),
            tuple((s.rfilename, s.blob_id) for s in siblings if s.lfs is None and s.blob_id),
            token,
            cache_dir,
        )


def fetch(repo: HubRepo, names: Sequence[str]) -> list[Path]:
    """Download ``names`` at the repo's commit into the hub's cache and return their paths.

    Small files are compared with git's id of them; large ones are hashed when they are used
    (:attr:`~zooalign.zoo.models.Model.source`).

    Raises
    ------
    HubError
        As for :func:`resolve`, or a file is not the one the hub states.
    """

    def download(name: str, revision: str | None) -> Path:
        return Path(
            hf_hub_download(
                repo.repo_id,
                name,
                revision=revision,
                token=repo.token,
                endpoint=endpoint(),
                cache_dir=repo.cache_dir,
            )
        )

    with hub_errors(repo.repo_id, repo.revision):
        # By the revision's name first, so that the cache knows the name when it is offline.
        for name in names[:1]:
            download(name, repo.revision)
        paths = [download(name, repo.commit) for name in names]
    for name, path in zip(names, paths, strict=True):
        _require_stated(repo, name, path)
    return paths


def _require_stated(repo: HubRepo, name: str, path: Path) -> None:
    stated = dict(repo.blobs).get(name)
    if stated is None:
        return
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    if hashlib.sha1(blob, usedforsecurity=False).hexdigest() != stated:
        for cached in (path.resolve(), path):  # so that the next run asks the hub again
            cached.unlink(missing_ok=True)
        raise HubError(
            f"{repo.repo_id}@{repo.commit}: {name} is not the file the hub states (git's id "
            "differs); try again"
        )


def _license(card: Any) -> str | None:
    licence = card.get("license") if card is not None else None
    return licence if isinstance(licence, str) else None


def _resolve_cached(repo_id: str, revision: str | None, cache_dir: Path | None) -> HubRepo:
    config = Path(
        hf_hub_download(
            repo_id, CONFIG_NAME, revision=revision, local_files_only=True, cache_dir=cache_dir
        )
    )
    names = tuple(sorted(path.name for path in config.parent.iterdir()))
    return HubRepo(repo_id, revision, config.parent.name, names, None, cache_dir=cache_dir)


@contextmanager
def hub_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn whatever the hub's client raises into a :class:`HubError` that says what to try.

    The client's messages are not passed on where they could hold a request with its headers.
    """
    try:
        yield
    except ZooalignError:
        raise
    except Exception as error:
        where = repo_id if revision is None else f"{repo_id}@{revision}"
        raise HubError(f"{where}: {_explain(error)}") from None


def _explain(error: Exception) -> str:
    # Without what stands before an "@": a name and a password.
    at = re.sub(r"//[^/@]*@", "//", endpoint() or "the hub")
    for kind, explanation in _EXPLANATIONS.items():
        if isinstance(error, kind):
            return explanation.format(at=at)
    if isinstance(error, HfHubHTTPError):
        return _http(error, at)
    if isinstance(error, OSError) and "onsistency check" in str(error):
        return f"{at} sent a file of another length than it announced; try again"
    name = type(error).__name__
    return (
        f"{at} cannot be reached or broke off ({name}); check the network and HF_ENDPOINT and try "
        "again"
    )


def _http(error: Exception, at: str) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 401:
        return f"{at} does not accept the token; check HF_TOKEN or log in again (hf auth login)"
    if status == 403:
        return f"{at} forbids this to the token's user; check the token's permissions"
    if status == 429:
        wait = str(getattr(response, "headers", {}).get("Retry-After") or "")
        after = f"in {wait} seconds" if wait.isdecimal() else "later"
        return f"{at} has had too many requests (HTTP 429); try again {after}"
    if status is not None and status >= 500:
        return f"{at} has a fault (HTTP {status}); try again later"
    reason = without_token(getattr(error, "server_message", None) or "no reason")
    return f"{at} answered HTTP {status}: {reason}"


def without_token(text: str) -> str:
    """``text`` from the hub without the token, should it repeat what it was sent."""
    for token in (get_token(), os.environ.get("HF_TOKEN")):
        if token:
            text = text.replace(token, "***")
    return text


# The first that fits counts: some of these errors derive from others.
_EXPLANATIONS: dict[type[Exception], str] = {
    OfflineModeIsEnabled: "not in the local cache, and HF_HUB_OFFLINE is set; unset it to download",
    GatedRepoError: "gated: ask for access on its page at {at}, then set HF_TOKEN",
    RepositoryNotFoundError: "no such repo at {at}, or it is private; check the name, and set "
    "HF_TOKEN if it is private",
    RevisionNotFoundError: "no such revision; give a branch, a tag, a commit hash or refs/pr/N",
    DisabledRepoError: "{at} has disabled this repo",
    LocalEntryNotFoundError: "not in the local cache, and {at} cannot be reached; check the "
    "network, HF_ENDPOINT and HF_HUB_OFFLINE",
    EntryNotFoundError: "a file that its listing names is missing from it",
}
