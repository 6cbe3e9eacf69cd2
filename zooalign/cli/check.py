"""``zooalign check``: the release gate."""

import click

from zooalign.cli._options import PATH, policy, settings_options
from zooalign.cli._output import progress_bar
from zooalign.cli._reports import FORMATS, print_report
from zooalign.release.settings import CheckRequest

__all__ = ["command"]


@click.command("check", short_help="Check a release (directory or hub repo) before you use it.")
@click.argument("reference", type=PATH, metavar="REF")
@settings_options(CheckRequest, name="request")
@policy
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="human",
    show_default=True,
    help="Output format (JSON fields: docs/cli.md; SARIF is version 2.1.0).",
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write the report to FILE and print text to stdout."
)
def command(
    reference: str, request: CheckRequest, policy: str | None, format_: str, output: str | None
) -> None:
    """Check the directory or hub repo REF.

    To check a pull request, name its revision: org/name@refs/pr/1. Exit code 0 (passed), 1
    (findings) or 2 (could not run).
    """
    from zooalign.errors import ZooalignError
    from zooalign.gate.policy import find_policy, read_policy
    from zooalign.gate.reports import write_step_failure
    from zooalign.zoo.suggestions import require_named

    if output is not None and format_ == "human":
        raise click.UsageError(
            "-o writes a report for machines: give --format json, sarif or junit"
        )
    try:
        # What is most often mistyped comes before the seconds that importing torch takes.
        rules = find_policy() if policy is None else read_policy(policy)
        require_named(reference)

        from zooalign.gate.check import check

        with progress_bar() as progress:
            report = check(reference, request, policy=rules, progress=progress)
    except ZooalignError as error:
        write_step_failure(reference, str(error))
        raise
    print_report(report, format_, output)
    if not report.ok:
        click.get_current_context().exit(1)
