"""Publish a directory to a hub in one commit, or as a pull request, and read it back."""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from zooalign.errors import HubError, ModelReferenceError, ZooalignError
from zooalign.gate.check import check
from zooalign.gate.findings import CheckReport
from zooalign.gate.policy import Policy
from zooalign.progress import Progress, silent
from zooalign.publish.permutation_only import permutation_release
from zooalign.publish.upload import (
    Head,
    create,
    look_up,
    read_back,
    require_head,
    require_no_other_weights,
    upload,
)
from zooalign.release.contents import PublishedFile, list_files
from zooalign.release.settings import CheckRequest, PublishSettings
from zooalign.zoo.hub import endpoint

__all__ = ["FaultyReleaseError", "PublishReport", "publish"]

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*/[A-Za-z0-9][A-Za-z0-9._\-]*")


@dataclass(frozen=True)
class PublishReport:
    """What was, or (``dry_run``) would be, published, as in the JSON (``docs/cli.md``).

    ``commit`` and ``url`` are None for a dry run; ``pull_request`` is its address where one was
    opened. ``verified`` says that every file was read back at the commit and is the same.
    ``unchanged``: the repo held all of it already, so no commit was made and no pull request
    opened; ``commit`` is the repo's head.
    """

    directory: str
    repo: str
    dry_run: bool
    files: tuple[PublishedFile, ...]
    check: CheckReport | None
    commit: str | None = None
    url: str | None = None
    pull_request: str | None = None
    verified: bool = False
    unchanged: bool = False


class FaultyReleaseError(ZooalignError):
    """The release gate found faults, so nothing was published; ``report.check`` has them."""

    def __init__(self, message: str, report: PublishReport) -> None:
        super().__init__(message)
        self.report = report


def publish(
    directory: str,
    repo: str,
    settings: PublishSettings | None = None,
    *,
    request: CheckRequest | None = None,
    policy: Policy | None = None,
    token: str | None = None,
    progress: Progress = silent,
) -> PublishReport:
    """Publish every file of ``directory`` (hidden ones excepted) to ``repo``.

    The repo's head is looked up before the check, and the commit is made on that head alone: if
    somebody commits in between, nothing is published.

    Parameters
    ----------
    repo:
        ``org/name`` on the hub of ``HF_ENDPOINT``. It is made if it is not there.
    request, policy:
        What the gate looks at and what it demands, as for
        :func:`zooalign.gate.check.check`.
    token:
        Default is the client's own (``HF_TOKEN``).

    Raises
    ------
    FaultyReleaseError
        If the gate finds an error and ``force`` is off.
    CheckpointError
        If the directory cannot be read, or changes while it is published.
    HubError
        If the hub refuses, cannot be reached, was changed by others meanwhile, or holds
        something else than was sent.
    """
    if not _REPO.fullmatch(repo):
        raise ModelReferenceError(f"{repo!r} is not a repo name; write org/name")
    settings = settings or PublishSettings()
    listed = list_files(Path(directory))
    api = HfApi(endpoint=endpoint(), token=token)
    head, unreachable = None, None
    if not settings.dry_run:
        progress("head", 0, 1)
        head, unreachable = _head(api, repo, settings)
    progress("check", 0, 1)
    # A path like a repo's name would be taken for one.
    reference = directory if directory.startswith((".", "/")) else f"./{directory}"
    report = check(reference, request, policy=policy)
    if not report.ok and not settings.force:
        refused = PublishReport(directory, repo, settings.dry_run, listed, report)
        raise FaultyReleaseError(_refusal(directory, report), refused)
    if unreachable is not None:
        raise unreachable
    source = Path(directory)
    stage = permutation_release(source, repo) if settings.permutation_only else nullcontext(source)
    with stage as folder:
        files = list_files(folder) if settings.permutation_only else listed
        if settings.dry_run:
            return PublishReport(directory, repo, True, files, report)
        head = head or create(api, repo, private=settings.private)
        require_no_other_weights(repo, head, [file.path for file in files])
        progress("upload", 0, len(files))
        commit = upload(
            api,
            repo,
            folder,
            files,
            parent=head.commit,
            message=settings.message or "Publish with zooalign",
            pull_request=settings.pull_request,
        )
        read_back(api, repo, commit.oid, files, progress)
    return PublishReport(
        directory,
        repo,
        False,
        files,
        report,
        commit=commit.oid,
        url=str(commit.commit_url),
        pull_request=commit.pr_url,
        verified=True,
        unchanged=commit.oid == head.commit,
    )


def _head(api: HfApi, repo: str, settings: PublishSettings) -> tuple[Head | None, HubError | None]:
    """The repo's head, or why it cannot be used: what the gate finds is said before it."""
    try:
        head = look_up(api, repo)
        require_head(repo, head, private=settings.private, expected=settings.parent_commit)
    except HubError as error:
        return None, error
    return head, None


def _refusal(directory: str, report: CheckReport) -> str:
    errors = report.failures
    return (
        f"{directory} is not published: {len(errors)} "
        f"{'error' if len(errors) == 1 else 'errors'} found, first {errors[0].id} at "
        f"{errors[0].where}: {errors[0].message}. Correct it, or publish it all the same (--force)"
    )
