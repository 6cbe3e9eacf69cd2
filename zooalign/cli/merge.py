"""``zooalign merge``: average models, aligned to the first."""

from typing import Any

import click

from zooalign.cli._options import REQUIRED_OUTPUT, settings_options
from zooalign.cli._output import Result, command_line, formatted, progress_bar, show_barriers
from zooalign.release.settings import MergeSettings

__all__ = ["command"]


@click.command("merge", short_help="Average models, aligned to the first.")
@click.argument("references", metavar="A B [C ...]", nargs=-1, required=True)
@REQUIRED_OUTPUT
@settings_options(MergeSettings)
@formatted
def command(references: tuple[str, ...], output: str, settings: MergeSettings) -> Result:
    """Average A, B, ... with every model brought in the order of A's units, and write DIR."""
    from zooalign.pipelines.merge import merge_models

    with progress_bar() as progress:
        report = merge_models(
            references, output, settings, command=command_line(), progress=progress
        )

    def show(console: Any) -> None:
        from rich.markup import escape

        made = report.provenance
        console.print(f"[bold]{escape(report.output)}[/bold] written")
        for found in made.alignments:
            console.print(
                f"{escape(made.sources[found.source].reference)}: {found.moved_fraction:.1%} of "
                f"units moved, objective {found.objective_before:.4f} -> "
                f"{found.objective_after:.4f}. {escape(str(found.diagnosis['verdict']))}"
            )
        console.print(
            f"statistics: {'[red]STALE[/red]' if made.stale_statistics else made.statistics}"
        )
        if made.score is not None and made.score.accuracy is not None:
            console.print(f"accuracy of the merge: {made.score.accuracy:.4f}")
        show_barriers(console, made.barrier)

    return Result(report.result, show)
