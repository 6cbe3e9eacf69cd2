"""``zooalign merge``: average models, aligned to the first."""

from typing import Any

import click

from zooalign.cli._options import MODEL, REQUIRED_OUTPUT, settings_options
from zooalign.cli._output import (
    Output,
    command_line,
    escape,
    formatted,
    progress_bar,
    show_barriers,
    show_written,
)
from zooalign.release.settings import MergeSettings

__all__ = ["command"]


@click.command("merge", short_help="Align models to the first one and average them.")
@click.argument("references", type=MODEL, metavar="A B [C ...]", nargs=-1, required=True)
@REQUIRED_OUTPUT
@settings_options(MergeSettings, without=["combine"])
@formatted
def command(references: tuple[str, ...], output: str, settings: MergeSettings) -> Output:
    """Align B, ... to A, average all weights, refit them and write the merged model to DIR.

    Weights are refitted to what the models compute on --data; without data they are the average.
    """
    from zooalign.pipelines.merge import merge_models

    with progress_bar() as progress:
        report = merge_models(
            references, output, settings, command=command_line(), progress=progress
        )

    def show(console: Any) -> None:
        record = report.provenance
        show_written(console, report.output, settings.dry_run)
        for alignment in record.alignments:
            reference = record.sources[alignment.source].reference
            verdict = str(alignment.diagnosis["verdict"])
            moved = f"{alignment.moved_fraction:.1%} of units moved"
            console.print(f"{escape(reference)}: {moved}. {escape(verdict)}")
            for line in alignment.told(record.method):
                console.print(f"  {escape(line)}")
        console.print(
            f"statistics: {'[red]STALE[/red]' if record.stale_statistics else record.statistics}"
        )
        if record.refit is not None:
            console.print(escape(record.refit.in_words))
        if record.score is not None:
            console.print(f"the merge on {record.score.count} predictions: {record.score.text}")
        if record.benefit is not None:
            console.print(escape(f"{record.benefit.data}: {record.benefit.verdict}"))
        show_barriers(console, record.barrier)

    return Output(report.result, show)
