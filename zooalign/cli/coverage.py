"""``zooalign coverage``: every architecture of a library, one JSON line each."""

from typing import Any

import click

from zooalign.cli._output import Output, formatted, print_note, progress_bar

__all__ = ["command"]


@click.command("coverage", short_help="Specs of all architectures of a library, as a table.")
@click.option("--library", default="timm", show_default=True, help="The library to sweep.")
@click.option(
    "--filter", "filters", multiple=True, metavar="PATTERN", help="Names, such as 'resnet*'."
)
@click.option("--smallest", is_flag=True, help="Only the smallest architecture of each family.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of every architecture, such as num_classes=0.",
)
@click.option(
    "--verify",
    type=click.Choice(["none", "family", "blocks", "all"]),
    default="family",
    show_default=True,
    help="Which are run with numbers: none, the smallest of each family, besides some with every "
    "class of a module between them, or all.",
)
@click.option(
    "--converse/--no-converse", default=True, help="Look for missed symmetries in what is run."
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    default=300_000_000,
    show_default=True,
    help="Most parameters of a model that is run; 16 bytes each.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    help="Seconds for one architecture.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="Memory for one process; what takes more is ended and reported.",
)
@click.option("--retry", is_flag=True, help="Try architectures again that failed.")
@click.option(
    "--report", metavar="FILE", help="Write the page of a finished sweep (FILE) to -o instead."
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="JSON lines to append to (continued if it is there); with --report a .md file.",
)
@formatted
def command(
    settings: tuple[str, ...],
    timeout: float,
    memory: float | None,
    report: str | None,
    output: str,
    **plan: Any,
) -> Output:
    """Derive the spec of every architecture of a library and check it.

    Each is one JSON line in FILE; interrupted or run again, the sweep continues. Exit code 1 if
    a spec could not be derived, does not hold, or misses a symmetry.
    """
    from zooalign.coverage.report import write_report
    from zooalign.coverage.results import read_results
    from zooalign.coverage.summary import summarise

    if report is not None:
        rows = read_results(report)
        written = write_report(rows.values(), output, source=report)
        return _result(summarise(rows.values()), [str(path) for path in written])

    from zooalign.coverage.pool import Limits
    from zooalign.coverage.sweep import Plan, sweep
    from zooalign.errors import ModelReferenceError
    from zooalign.zoo.references import parse_query

    options: Any = ()
    if settings:
        options = parse_query("&".join(settings), of="--set", error=ModelReferenceError)
    limits = Limits(timeout, None if memory is None else int(memory * 1e9))
    with progress_bar() as progress:
        rows = sweep(Plan(options=options, limits=limits, **plan), output, progress)
    versions = {str(sorted(row["versions"].items())) for row in rows.values()}
    if len(versions) > 1:
        print_note("warning", f"{output} has lines of different versions of libraries")
    return _result(summarise(rows.values()), [output])


def _result(totals: dict[str, Any], written: list[str]) -> Output:
    from zooalign.coverage.summary import CoverageResult
    from zooalign.release.results import merged_fields

    def show(console: Any) -> None:
        console.print(
            f"{totals['extracted']} of {totals['architectures']} architectures in "
            f"{totals['families']} families: {totals['verified']} verified, "
            f"{totals['unsound']} unsound, {totals['missed']} with a missed symmetry, "
            f"{totals['unknown_operators']} with unknown operators"
        )
        for failed in totals["findings"]:
            console.print(f"{failed['name']}: {failed['what']}", markup=False)
        for path in written:
            console.print(f"written: {path}", markup=False)

    result = merged_fields(CoverageResult, totals, {"output": written})
    return Output(result, show, 1 if totals["findings"] else 0)
