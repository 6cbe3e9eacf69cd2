"""Publish a directory to a hub in one commit, or as a pull request, and read it back."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from zooalign.errors import HubError, ModelReferenceError, ZooalignError
from zooalign.release.check import check
from zooalign.release.findings import CheckReport
from zooalign.release.listing import PublishedFile, hash_file, list_files
from zooalign.release.progress import Progress, silent
from zooalign.zoo.hub import endpoint, hub_errors

__all__ = ["FaultyReleaseError", "PublishReport", "publish"]

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*/[A-Za-z0-9][A-Za-z0-9._\-]*")


@dataclass(frozen=True)
class PublishReport:
    """What was, or (``dry_run``) would be, published.

    ``commit`` and ``url`` are None for a dry run; ``pull_request`` is its address where one was
    opened. ``verified`` says that every file was read back at the commit and is the same.
    """

    directory: str
    repo: str
    files: tuple[PublishedFile, ...]
    dry_run: bool
    check: CheckReport | None
    commit: str | None = None
    url: str | None = None
    pull_request: str | None = None
    verified: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {
            "directory": self.directory,
            "repo": self.repo,
            "dry_run": self.dry_run,
            "files": [dict(vars(file)) for file in self.files],
            "check": None if self.check is None else self.check.to_dict(),
            "commit": self.commit,
            "url": self.url,
            "pull_request": self.pull_request,
            "verified": self.verified,
        }


class FaultyReleaseError(ZooalignError):
    """The release gate found faults, so nothing was published; ``report.check`` has them."""

    def __init__(self, message: str, report: PublishReport) -> None:
        super().__init__(message)
        self.report = report


def publish(
    directory: str,
    repo: str,
    *,
    pull_request: bool = False,
    dry_run: bool = False,
    force: bool = False,
    private: bool = False,
    message: str | None = None,
    model: str | None = None,
    token: str | None = None,
    progress: Progress = silent,
) -> PublishReport:
    """Publish every file of ``directory`` (hidden ones excepted) to ``repo``.

    Parameters
    ----------
    repo:
        ``org/name`` on the hub of ``HF_ENDPOINT``. It is made if it is not there.
    pull_request:
        Open a pull request instead of a commit on the main branch.
    dry_run:
        Check and list only; the hub is not asked anything.
    force:
        Publish what the release gate finds faulty.
    private:
        Make a new repo private.
    token:
        Default is the client's own (``HF_TOKEN``).

    Raises
    ------
    FaultyReleaseError
        If the gate finds an error and ``force`` is off.
    HubError
        If the hub refuses, cannot be reached, or holds something else than was sent.
    """
    if not _REPO.fullmatch(repo):
        raise ModelReferenceError(f"{repo!r} is no repo name; write org/name")
    files = list_files(Path(directory))
    progress("check", 0, 1)
    # A path like a repo's name would be taken for one.
    here = directory if directory.startswith((".", "/")) else f"./{directory}"
    report = check(here, model=model)
    if not report.ok and not force:
        errors = [finding for finding in report.findings if finding.severity == "error"]
        raise FaultyReleaseError(
            f"{directory} is not published: {len(errors)} "
            f"{'error' if len(errors) == 1 else 'errors'} found, first {errors[0].id} at "
            f"{errors[0].where}: {errors[0].message}. Correct it, or publish it all the same "
            "(--force)",
            PublishReport(directory, repo, files, dry_run, report),
        )
    if dry_run:
        return PublishReport(directory, repo, files, True, report)
    api = HfApi(endpoint=endpoint(), token=token)
    with hub_errors(repo, None):
        parent = _prepare(api, repo, files, private=private)
        progress("upload", 0, len(files))
        made = _commit(api, repo, directory, files, parent, message, pull_request)
    _verify(api, repo, made.oid, files, progress)
    return PublishReport(
        directory,
        repo,
        files,
        False,
        report,
        commit=made.oid,
        url=str(made.commit_url),
        pull_request=made.pr_url,
        verified=True,
    )


def _prepare(api: HfApi, repo: str, files: Sequence[PublishedFile], *, private: bool) -> str | None:
    """Make the repo if need be; the commit on its main branch that the new one builds on."""
    try:
        info = api.model_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=private, exist_ok=True)
        info = api.model_info(repo)
    ours = {file.path for file in files}
    theirs = [
        sibling.rfilename
        for sibling in info.siblings or []
        if sibling.rfilename not in ours
        and sibling.rfilename.endswith((".safetensors", ".safetensors.index.json", ".bin"))
    ]
    if theirs:
        raise HubError(
            f"{repo} holds weights that are not part of this release ({', '.join(theirs[:3])}), "
            "and both would be mixed; delete them there first, or publish to another repo"
        )
    return info.sha


def _commit(
    api: HfApi,
    repo: str,
    directory: str,
    files: Sequence[PublishedFile],
    parent: str | None,
    message: str | None,
    pull_request: bool,
) -> CommitInfo:
    operations = [
        CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=Path(directory) / file.path)
        for file in files
    ]
    try:
        return api.create_commit(
            repo,
            operations,
            commit_message=message or "Publish with zooalign",
            parent_commit=parent,
            create_pr=pull_request,
        )
    except ValueError as error:
        # What the hub says of the card's metadata, and of large files.
        raise HubError(f"{repo}: the hub refuses a file: {str(error).splitlines()[0]}") from None
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 412:
            raise HubError(
                f"{repo}: somebody committed to it meanwhile, and nothing was published; look at "
                "their commit and try again"
            ) from None
        raise


def _verify(
    api: HfApi, repo: str, commit: str, files: Sequence[PublishedFile], progress: Progress
) -> None:
    """Read every file back at the commit, into a cache that is new and dropped."""
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
            found = hash_file(Path(path))
        if found != file.sha256:
            raise HubError(
                f"{repo}@{commit}: {file.path} read back is not what was sent (SHA-256 "
                f"{found[:16]} instead of {file.sha256[:16]}); publish again"
            )
