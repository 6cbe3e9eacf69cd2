"""``zooalign run``: a merge from models to a hub, as one file says it."""

from typing import Any

import click

from zooalign.cli._options import PATH, settings_options
from zooalign.cli._output import (
    Output,
    command_line,
    escape,
    formatted,
    progress_bar,
    show_written,
)
from zooalign.cli._reports import show_findings
from zooalign.release.settings import RunSettings

__all__ = ["command"]


@click.command("run", short_help="Run a recipe: align, merge, check and publish.")
@click.argument("recipe", type=PATH, metavar="RECIPE")
@settings_options(RunSettings)
@formatted
def command(recipe: str, settings: RunSettings) -> Output:
    """Run RECIPE: a YAML file of zooalign or mergekit, or a release's provenance.json.

    Exit code 0, 1 (the output does not pass the gate) or 2 (could not run).
    """
    from zooalign.recipes.run import run_recipe

    with progress_bar() as progress:
        report = run_recipe(recipe, settings, command=command_line(), progress=progress)

    def show(console: Any) -> None:
        record = report.report.provenance
        show_written(console, report.report.output, settings.dry_run)
        method = None if record.combination is None else record.combination.method
        console.print(f"{method or record.operation} of {len(record.sources)} models")
        for alignment in record.alignments:
            reference = record.sources[alignment.source].reference
            moved = f"{alignment.moved_fraction:.1%} of units moved"
            console.print(f"{escape(reference)}: {moved}")
            for line in alignment.told(record.method):
                console.print(f"  {escape(line)}")
        if record.score is not None:
            console.print(f"on {record.score.count} predictions: {record.score.text}")
        if report.check is not None:
            show_findings(console, report.check)
        if report.published is not None:
            console.print(f"published: {escape(report.published.url or '')}")

    failed = report.check is not None and not report.check.ok
    return Output(report.result, show, int(failed))
