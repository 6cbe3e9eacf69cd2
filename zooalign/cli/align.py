"""``zooalign align``: bring one model's units in the order of another's."""

from typing import Any

import click

from zooalign.cli._options import REQUIRED_OUTPUT, settings_options
from zooalign.cli._output import Result, command_line, formatted, progress_bar, show_barriers
from zooalign.release.settings import AlignSettings

__all__ = ["command"]


@click.command("align", short_help="Bring SOURCE's units in the order of TARGET's.")
@click.argument("target")
@click.argument("source")
@REQUIRED_OUTPUT
@settings_options(AlignSettings)
@formatted
def command(target: str, source: str, output: str, settings: AlignSettings) -> Result:
    """Permute the units of SOURCE to correspond to TARGET's and write the result to DIR.

    The output computes the same function as SOURCE; that is checked before it is written.
    """
    from zooalign.pipelines.align import align_models

    with progress_bar() as progress:
        report = align_models(
            target, source, output, settings, command=command_line(), progress=progress
        )

    def show(console: Any) -> None:
        from rich.markup import escape

        found = report.provenance.alignments[0]
        console.print(f"[bold]{escape(report.output)}[/bold] written")
        console.print(
            f"{found.moved_fraction:.1%} of units in {report.groups} groups moved; objective "
            f"{found.objective_before:.4f} -> {found.objective_after:.4f}"
        )
        console.print(
            f"same function as {escape(source)}: relative error {found.max_relative_error:.1e}, "
            f"rounding explains {found.tolerance:.1e}"
        )
        console.print(escape(str(found.diagnosis["verdict"])))
        judged = found.diagnosis.get("outcome")
        if judged and not found.diagnosis["nothing_to_align"]:
            console.print(escape(str(judged["verdict"])))
        if judged and judged["starts"] > 1:
            console.print(f"{judged['starts']} starts, spread {judged['spread']:.4f}")
        show_barriers(console, report.provenance.barrier)

    return Result(report.result, show)
