"""``zooalign reproduce``: make a release again from its provenance and compare the bytes."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Output, escape, formatted, progress_bar
from zooalign.release.settings import ReproduceSettings

__all__ = ["command"]


@click.command("reproduce", short_help="Make a release again and compare the bytes.")
@click.argument("reference", metavar="DIR")
@settings_options(ReproduceSettings)
@formatted
def command(reference: str, settings: ReproduceSettings) -> Output:
    """Run the operation of DIR (or a repo) again in a temporary folder and compare every file.

    Exit code 0 (the same bytes), 1 (something differs, the first tensor or file is named) or 2.
    """
    from zooalign.pipelines.reproduce import reproduce

    with progress_bar() as progress:
        report = reproduce(reference, settings, progress=progress)

    def show(console: Any) -> None:
        for difference in report.differences:
            console.print(
                f"[red]differs[/red] {escape(difference.where)}: {escape(difference.message)}"
            )
        for name, version in report.versions.items():
            console.print(
                f"{escape(name)}: recorded {escape(version.recorded)}, here {escape(version.here)}"
            )
        if report.extra:
            console.print(
                f"not made by the operation, so not compared: {escape(', '.join(report.extra))}"
            )
        if report.same:
            count = len(report.compared)
            console.print(f"{escape(report.reference)}: {count} files, the same bytes")
        else:
            console.print(f"{escape(report.reference)}: not the same; {escape(report.advice)}")

    return Output(report, show, 0 if report.same else 1)
