"""``zooalign barrier``: loss and error on the line between two models."""

from typing import Any

import click

from zooalign.cli._options import MODEL, settings_options
from zooalign.cli._output import (
    Output,
    escape,
    formatted,
    print_table,
    progress_bar,
    show_barriers,
    show_written,
)
from zooalign.release.settings import BarrierSettings

__all__ = ["command"]


@click.command("barrier", short_help="Measure the loss barrier between two models.")
@click.argument("a", type=MODEL)
@click.argument("b", type=MODEL)
@settings_options(BarrierSettings)
@formatted
def command(a: str, b: str, settings: BarrierSettings) -> Output:
    """Measure loss and error on the line from A to B.

    The barrier is reported by both common definitions: over the line and over the mean.
    """
    from zooalign.pipelines.barrier import barrier_models
    from zooalign.release.curves import barrier_summary

    with progress_bar() as progress:
        report = barrier_models(a, b, settings, progress=progress)

    def show(console: Any) -> None:
        curves = [curve.measured for curve in report.curves]
        several = len(curves) > 1
        columns: dict[str, list[str]] = {"alpha": [f"{alpha:.3f}" for alpha in curves[0].alphas]}
        for curve in curves:
            suffix = f", {curve.align}" if several else ""
            columns[escape(curve.names["loss"] + suffix)] = [f"{x:.4f}" for x in curve.loss]
            if curve.accuracy is not None:
                name = (*curve.measures, "accuracy", "accuracy")[1]
                columns[escape(name + suffix)] = [f"{x:.4f}" for x in curve.accuracy]
            elif curve.error is not None:
                columns[escape(curve.names["error"] + suffix)] = [f"{x:.4f}" for x in curve.error]
        print_table(console, tuple(columns), zip(*columns.values(), strict=True))
        show_barriers(console, barrier_summary(curves))
        if report.measured.statistics_reset:
            console.print("running statistics were reset between the ends")
        for one in report.curves:
            if one.aligned is not None:
                prefix = f"{one.measured.align}: " if several else ""
                console.print(escape(prefix + one.aligned.diagnosis.verdict))
                for line in one.aligned.told:
                    console.print(f"  {escape(line)}")
        if settings.plot is not None:
            show_written(console, settings.plot, settings.dry_run)

    return Output(report.result, show)
