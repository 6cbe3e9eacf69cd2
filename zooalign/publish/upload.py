"""The hub's side of publishing: one commit on a known head, then everything is read back."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from zooalign.errors import CheckpointError, HubError
from zooalign.progress import Progress
from zooalign.release.contents import PublishedFile, hash_file
from zooalign.zoo.hub import endpoint, hub_errors, without_token

__all__ = [
    "Head",
    "create",
    "look_up",
    "read_back",
    "require_head",
    "require_no_other_weights",
    "upload",
]


@dataclass(frozen=True)
class Head:
    """A repo's main branch at one moment: its commit, its files, who may read it."""

    commit: str
    names: tuple[str, ...]
    private: bool


def look_up(api: HfApi, repo: str) -> Head | None:
    """The head of ``repo``, None if there is no such repo; HubError if the hub does not say."""
    with hub_errors(repo, None):
        try:
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            return None
        if not info.sha:
            raise HubError(f"{repo}: the hub names no commit of its main branch")
        names = tuple(sibling.rfilename for sibling in info.siblings or [])
        return Head(info.sha, names, bool(info.private))


def create(api: HfApi, repo: str, *, private: bool) -> Head:
    """Make a repo that was not there; HubError if somebody else has made it meanwhile."""
    theirs = HubError(
        f"{repo}: somebody made it meanwhile, and nothing was published; look at what is there and "
        "try again"
    )
    with hub_errors(repo, None):
        try:
            api.create_repo(repo, private=private, exist_ok=False)
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 409:
                raise theirs from None
            raise
    head = look_up(api, repo)
    if head is None:
        raise HubError(f"{repo}: was made, but the hub does not show it; try again")
    if set(head.names) - {".gitattributes"}:  # the hub makes this one itself
        raise theirs
    return head


def require_head(repo: str, head: Head | None, *, private: bool, expected: str | None) -> None:
    """Raise HubError where the head is not ``expected``, or the repo public against the wish.

    ``expected`` has the first seven digits of a commit at least.
    """
    if expected is not None:
        current = "missing" if head is None else head.commit
        if len(expected) < 7 or not current.startswith(expected):
            raise HubError(
                f"{repo}: its head is {current}, not {expected} as given; nothing was published. "
                "Look at what is there, and name the commit you have looked at"
            )
    if private and head is not None and not head.private:
        raise HubError(
            f"{repo} is public, and a private repo was asked for; nothing was published. Make it "
            "private on its page, or publish to another repo"
        )


def require_no_other_weights(repo: str, head: Head, ours: Sequence[str]) -> None:
    """Raise HubError where the repo holds weights that would be mixed with ``ours``."""
    weights = (".safetensors", ".safetensors.index.json", ".bin")
    foreign = [name for name in head.names if name not in ours and name.endswith(weights)]
    if foreign:
        raise HubError(
            f"{repo} holds weights that are not part of this release ({', '.join(foreign[:3])}), "
            "and both would be mixed; delete them there first, or publish to another repo"
        )


def upload(
    api: HfApi,
    repo: str,
    directory: Path,
    files: Sequence[PublishedFile],
    *,
    parent: str,
    message: str,
    pull_request: bool,
) -> CommitInfo:
    """One commit on ``parent``. What an interrupted run has uploaded is not sent again.

    Raises
    ------
    CheckpointError
        If a file is no longer the one in ``files``.
    HubError
        If the hub refuses, or its head is not ``parent`` any more; then nothing has changed.
    """
    operations = [_operation(directory, file) for file in files]
    with hub_errors(repo, None):
        try:
            return api.create_commit(
                repo,
                operations,
                commit_message=message,
                parent_commit=parent,
                create_pr=pull_request,
            )
        except (ValueError, RuntimeError) as error:
            if isinstance(error, HfHubHTTPError):
                raise
            cause = error.__cause__ or error.__context__
            if isinstance(cause, HfHubHTTPError):
                raise cause from None
            # What the hub says of the card's metadata, and of large files.
            reason = without_token((str(error).splitlines() or [type(error).__name__])[0])
            raise HubError(f"{repo}: the hub refuses a file: {reason}") from None
        except HfHubHTTPError as error:
            answer = error.response
            stale = answer is not None and answer.status_code == 412
            if stale and "/commit/" in str(answer.url):
                raise HubError(
                    f"{repo}: somebody committed to it meanwhile, and nothing was published; look "
                    "at their commit and try again"
                ) from None
            raise


def _operation(directory: Path, file: PublishedFile) -> CommitOperationAdd:
    operation = CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=directory / file.path)
    if operation.upload_info.sha256.hex() != file.sha256:
        raise CheckpointError(
            f"{directory / file.path}: has changed since it was checked; nothing was published. "
            "Publish again when nothing writes to it"
        )
    return operation


def read_back(
    api: HfApi, repo: str, commit: str, files: Sequence[PublishedFile], progress: Progress
) -> None:
    """Read every file back into a new cache; HubError if one is not what was sent."""
    for number, file in enumerate(files):
        progress("read back", number, len(files))
        with tempfile.TemporaryDirectory() as cache, hub_errors(repo, commit):
            path = hf_hub_download(
                repo,
                file.path,
                revision=commit,
                token=api.token,
                endpoint=endpoint(),
                cache_dir=cache,
            )
            digest = hash_file(Path(path))
        if digest != file.sha256:
            raise HubError(
                f"{repo}@{commit}: {file.path} read back is not what was sent (SHA-256 "
                f"{digest[:16]} instead of {file.sha256[:16]}); publish again"
            )
