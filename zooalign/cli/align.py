"""``zooalign align``: reorder one model's units to match another's."""

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
from zooalign.release.settings import AlignSettings

__all__ = ["command"]


@click.command("align", short_help="Align SOURCE to TARGET by permuting its units.")
@click.argument("target", type=MODEL)
@click.argument("source", type=MODEL)
@REQUIRED_OUTPUT
@settings_options(AlignSettings)
@formatted
def command(target: str, source: str, output: str, settings: AlignSettings) -> Output:
    """Permute the units of SOURCE to match those of TARGET and write the result to DIR.

    The aligned model computes the same function as SOURCE. This is checked before writing.
    """
    from zooalign.pipelines.align import align_models

    with progress_bar() as progress:
        report = align_models(
            target, source, output, settings, command=command_line(), progress=progress
        )

    def show(console: Any) -> None:
        alignment = report.provenance.alignments[0]
        show_written(console, report.output, settings.dry_run)
        console.print(f"{alignment.moved_fraction:.1%} of units in {report.groups} groups moved")
        for line in alignment.told(settings.method):
            console.print(escape(line))
        console.print(
            f"same function as {escape(source)}: relative error "
            f"{alignment.max_relative_error:.1e}, rounding explains {alignment.tolerance:.1e}"
        )
        console.print(escape(str(alignment.diagnosis["verdict"])))
        outcome = alignment.diagnosis.get("outcome")
        if outcome and not alignment.diagnosis["nothing_to_align"]:
            console.print(escape(str(outcome["verdict"])))
        if outcome and outcome["starts"] > 1:
            console.print(f"{outcome['starts']} starts, spread {outcome['spread']:.4f}")
        show_barriers(console, report.provenance.barrier)

    return Output(report.result, show)
