"""``zooalign barrier``: loss and error on the line between two models."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import (
    Output,
    escape,
    formatted,
    print_table,
    progress_bar,
    show_barriers,
)
from zooalign.release.settings import BarrierSettings

__all__ = ["command"]


@click.command("barrier", short_help="Measure the loss barrier between two models.")
@click.argument("a")
@click.argument("b")
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
        curve = report.measured
        accuracy = [""] * len(curve.alphas)
        if curve.accuracy is not None:
            accuracy = [f"{value:.4f}" for value in curve.accuracy]
        points = zip(curve.alphas, curve.loss, accuracy, strict=True)
        rows = [(f"{alpha:.3f}", f"{loss:.4f}", right) for alpha, loss, right in points]
        print_table(console, ("alpha", "loss", "accuracy"), rows)
        show_barriers(console, barrier_summary([report.measured]))
        if curve.statistics_reset:
            console.print("running statistics were reset between the ends")
        if report.aligned is not None:
            console.print(escape(report.aligned.diagnosis.verdict))
        if report.plot is not None:
            console.print(f"written: {escape(report.plot)}")

    return Output(report.result, show)
