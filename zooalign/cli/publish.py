"""``zooalign publish``: push a directory to a hub and read it back."""

from typing import Any

import click

from zooalign.cli._options import PATH, policy, settings_options
from zooalign.cli._output import (
    Output,
    escape,
    formatted,
    print_error,
    print_table,
    progress_bar,
    short,
)
from zooalign.cli._reports import show_findings
from zooalign.release.settings import CheckRequest, PublishSettings

__all__ = ["command"]


@click.command("publish", short_help="Push a directory to a hub and verify the upload.")
@click.argument("directory", type=PATH, metavar="DIR")
@click.option("--to", "repo", required=True, metavar="ORG/NAME", help="Repo to publish to.")
@settings_options(PublishSettings)
@settings_options(CheckRequest, name="request", without=["headers_only", "against", "rerun"])
@policy
@formatted
def command(
    directory: str,
    repo: str,
    settings: PublishSettings,
    request: CheckRequest,
    policy: str | None,
) -> Output:
    """Check DIR, push its files in one commit, then download them and compare.

    Set the hub with HF_ENDPOINT and the token with HF_TOKEN or hf auth login.
    """
    from zooalign.gate.policy import find_policy, read_policy
    from zooalign.publish.publish import FaultyReleaseError, publish

    try:
        with progress_bar() as progress:
            report = publish(
                directory,
                repo,
                settings,
                request=request,
                policy=find_policy() if policy is None else read_policy(policy),
                progress=progress,
            )
    except FaultyReleaseError as error:
        print_error(str(error))
        refused = error.report
        return Output(refused, lambda console: show_findings(console, refused.check), 1)

    def show(console: Any) -> None:
        rows = [(escape(file.path), str(file.size), short(file.sha256)) for file in report.files]
        print_table(console, ("file", "bytes", "SHA-256"), rows)
        if report.check is not None and report.check.findings:
            show_findings(console, report.check)
        if report.dry_run:
            console.print(f"dry run: nothing was sent to {escape(repo)}")
        elif report.unchanged:
            what = "no pull request was opened" if settings.pull_request else "no commit was made"
            console.print(f"nothing to publish: {escape(repo)} holds these very files; {what}")
            console.print(f"read back at {report.commit}: every file is the same")
        else:
            console.print(f"published: {escape(report.pull_request or report.url or '')}")
            console.print(f"read back at {report.commit}: every file is the same")
            number = (report.pull_request or "").rpartition("/")[2]
            if number.isdecimal():
                console.print(f"to check it there: zooalign check {escape(repo)}@refs/pr/{number}")

    return Output(report, show)
