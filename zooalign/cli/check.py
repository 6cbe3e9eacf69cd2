"""``zooalign check``: the release gate."""

from typing import Any

import click

from zooalign.cli import _options
from zooalign.cli._output import Result, formatted, progress_bar

__all__ = ["command", "show_findings"]


@click.command("check", short_help="The release gate: is this directory or repo in order?")
@click.argument("reference", metavar="REF")
@click.option(
    "--parent",
    "parents",
    metavar="REF",
    multiple=True,
    help="A model it was made from; the weights are made anew and compared. Repeatable.",
)
@_options.opening
@formatted
def command(
    reference: str, parents: tuple[str, ...], model: str | None, allow_pickle: bool
) -> Result:
    """Check the directory or hub repo REF. Exit code 0 (in order), 1 (findings) or 2."""
    from zooalign.release.check import check

    with progress_bar() as progress:
        report = check(
            reference, parents, model=model, allow_pickle=allow_pickle, progress=progress
        )

    def show(console: Any) -> None:
        show_findings(console, report)

    return Result(report.to_dict(), show, 0 if report.ok else 1)


def show_findings(console: Any, report: Any) -> None:
    """Print a :class:`zooalign.release.findings.CheckReport`."""
    from rich.markup import escape

    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        console.print(
            f"[{colour}]{finding.severity}[/{colour}] {finding.id}: {escape(finding.where)}: "
            f"{escape(finding.message)}"
        )
        if finding.fix:
            console.print(f"    fix: {escape(finding.fix)}")
    word = "[green]in order[/green]" if report.ok else "[red]not in order[/red]"
    console.print(
        f"{escape(report.reference)}: {word} ({len(report.checks)} checks ran, "
        f"{len(report.skipped)} skipped)"
    )
