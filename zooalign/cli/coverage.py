"""``zooalign coverage``: every architecture of a library, one JSON line each."""

from typing import Any

import click

from zooalign.cli._options import DRY_RUN
from zooalign.cli._output import Output, formatted, print_note, progress_bar

__all__ = ["command"]


@click.command("coverage", short_help="Derive the specs of all architectures of a library.")
@click.option("--library", default="timm", show_default=True, help="Library to sweep.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="PATTERN",
    help="Only architectures whose name matches, e.g. 'resnet*'. Repeatable.",
)
@click.option("--smallest", is_flag=True, help="Only the smallest architecture of each family.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option passed to every architecture, e.g. num_classes=0. Repeatable.",
)
@click.option(
    "--verify",
    type=click.Choice(["none", "family", "blocks", "all"]),
    default="family",
    show_default=True,
    help="Architectures to verify numerically: none, the smallest of each family, those plus "
    "enough small ones to cover every module class, or all.",
)
@click.option(
    "--converse/--no-converse",
    default=True,
    help="Also search the verified architectures for missed symmetries.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    default=300_000_000,
    show_default=True,
    help="Maximum parameters of a model that is run (16 bytes of memory each).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of worker processes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    help="Time limit per architecture in seconds.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="Memory limit per process; one that exceeds it is killed and reported.",
)
@click.option("--retry", is_flag=True, help="Retry architectures that failed.")
@click.option(
    "--report",
    metavar="FILE",
    help="Render a finished sweep (FILE) as a Markdown page to -o instead.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="JSON Lines file; an existing sweep is continued. With --report, a .md file.",
)
@DRY_RUN
@formatted
def command(
    settings: tuple[str, ...],
    timeout: float,
    memory: float | None,
    report: str | None,
    output: str,
    dry_run: bool,
    **plan: Any,
) -> Output:
    """Derive and check the spec of every architecture of a library.

    FILE gets one JSON line per architecture. Run the command again to continue an interrupted
    sweep. Exit code 1 if a spec could not be derived, does not hold, or misses a symmetry.
    """
    from zooalign.coverage.report import write_report
    from zooalign.coverage.results import read_results
    from zooalign.coverage.summary import summarise

    if report is not None:
        rows = read_results(report)
        written = [] if dry_run else write_report(rows.values(), output, source=report)
        return _result(summarise(rows.values()), [str(path) for path in written])

    from zooalign.coverage.pool import Limits
    from zooalign.coverage.sweep import Plan, planned, sweep
    from zooalign.errors import ModelReferenceError
    from zooalign.zoo.references import parse_query

    options: Any = ()
    if settings:
        options = parse_query("&".join(settings), of="--set", error=ModelReferenceError)
    limits = Limits(timeout, None if memory is None else int(memory * 1e9))
    asked = Plan(options=options, limits=limits, **plan)
    with progress_bar() as progress:
        if dry_run:
            rows, references = planned(asked, output, progress)
            return _result(summarise(rows.values()), [], references)
        rows = sweep(asked, output, progress)
    versions = {str(sorted(row["versions"].items())) for row in rows.values()}
    if len(versions) > 1:
        print_note("warning", f"{output} has lines of different versions of libraries")
    return _result(summarise(rows.values()), [output])


def _result(totals: dict[str, Any], written: list[str], to_examine: tuple[str, ...] = ()) -> Output:
    from zooalign.coverage.summary import CoverageResult
    from zooalign.release.results import merged_fields

    def show(console: Any) -> None:
        console.print(
            f"{totals['extracted']} of {totals['architectures']} architectures in "
            f"{totals['families']} families: {totals['proved']} proved, "
            f"{totals['refuted']} refuted, {totals['not_shown']} not shown, "
            f"{totals['missed']} with a missed symmetry, "
            f"{totals['unknown_operators']} with unknown operators"
        )
        if totals["held"]:
            console.print(f"{totals['held']} held on numbers, in lines of earlier versions")
        for failed in totals["findings"]:
            console.print(f"{failed['name']}: {failed['what']}", markup=False)
        if to_examine:
            console.print(f"{len(to_examine)} to be examined (dry run):")
        for reference in to_examine:
            console.print(f"  {reference}", markup=False)
        for path in written:
            console.print(f"written: {path}", markup=False)

    more = {"output": written, "to_examine": to_examine}
    result = merged_fields(CoverageResult, totals, more)
    return Output(result, show, 1 if totals["findings"] else 0)
