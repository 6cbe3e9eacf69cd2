"""``zooalign barrier``: loss and error on the line between two models."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Result, formatted, progress_bar, show_barriers
from zooalign.release.settings import BarrierSettings

__all__ = ["command"]


@click.command("barrier", short_help="Loss and error on the line between two models.")
@click.argument("a")
@click.argument("b")
@settings_options(BarrierSettings)
@formatted
def command(a: str, b: str, settings: BarrierSettings) -> Result:
    """Measure the barrier between A and B by both definitions in use."""
    from zooalign.pipelines.barrier import barrier_models
    from zooalign.release.curves import barrier_summary

    with progress_bar() as progress:
        report = barrier_models(a, b, settings, progress=progress)

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        curve = report.measured
        table = Table("alpha", "loss", "accuracy")
        for index, alpha in enumerate(curve.alphas):
            right = curve.train.accuracy
            table.add_row(
                f"{alpha:.3f}",
                f"{curve.train.loss[index]:.4f}",
                "" if right is None else f"{right[index]:.4f}",
            )
        console.print(table)
        show_barriers(console, barrier_summary([report.measured]))
        if curve.statistics_reset:
            console.print("running statistics were reset between the ends")
        if report.aligned is not None:
            console.print(escape(report.aligned.diagnosis.verdict))
        if report.plot is not None:
            console.print(f"written: {escape(report.plot)}")

    return Result(report.result, show)
