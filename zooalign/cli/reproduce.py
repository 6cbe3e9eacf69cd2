"""``zooalign reproduce``: rerun the operation behind a release and compare the bytes."""

from typing import Any

import click

from zooalign.cli._options import PATH, settings_options
from zooalign.cli._output import Output, escape, formatted, progress_bar
from zooalign.release.settings import ReproduceSettings

__all__ = ["command"]


@click.command(
    "reproduce", short_help="Rerun the operation behind a release and compare the bytes."
)
@click.argument("reference", type=PATH, metavar="DIR")
@settings_options(ReproduceSettings)
@formatted
def command(reference: str, settings: ReproduceSettings) -> Output:
    """Rerun the recorded operation of DIR (or a hub repo) and compare every file.

    Exit code 0 (identical bytes, but for rounding of refitted weights on another machine), 1 (a
    file differs; the first difference is named) or 2 (could not run).
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
                f"not written by the operation, so not compared: {escape(', '.join(report.extra))}"
            )
        for item in report.rounded:
            console.print(
                f"{escape(item.tensor)}: refitted, differs by {item.relative_error:.1e} of its "
                "norm, within the recorded tolerance"
            )
        if report.same:
            count = len(report.compared)
            console.print(f"{escape(report.reference)}: {count} files, the same bytes")
        elif not report.differences:
            console.print(
                f"{escape(report.reference)}: the same but for rounding, as on another machine"
            )
        else:
            console.print(f"{escape(report.reference)}: not the same; {escape(report.advice)}")

    return Output(report, show, 1 if report.differences else 0)
