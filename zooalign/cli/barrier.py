"""``zooalign barrier``: loss and error on the line between two models."""

from typing import Any

import click

from zooalign.cli import _options
from zooalign.cli._output import Result, formatted, progress_bar

__all__ = ["command"]


@click.command("barrier", short_help="Loss and error on the line between two models.")
@click.argument("a")
@click.argument("b")
@_options.opening
@click.option("--data", metavar="DATA", required=True, help="Data to score on, with targets.")
@click.option("--test", metavar="DATA", help="A second data set to score on.")
@click.option(
    "--calibration", metavar="DATA", help="For matching and statistics [default: --data]."
)
@click.option(
    "--align",
    metavar="none|activation|weight",
    default="none",
    show_default=True,
    help="Align B to A first; by default both are measured as they are.",
)
@click.option(
    "--reset/--no-reset",
    default=True,
    show_default=True,
    help="Recompute running statistics strictly between A and B, where there are any.",
)
@_options.alphas
@click.option("--plot", metavar="FILE", help="Draw the curve as .svg or .png.")
@_options.data_options
@_options.seed
@_options.device
@formatted
def command(
    a: str,
    b: str,
    model: str | None,
    allow_pickle: bool,
    data: str,
    test: str | None,
    calibration: str | None,
    align: str,
    reset: bool,
    alphas: int,
    plot: str | None,
    batch_size: int,
    limit: int | None,
    seed: int,
    device: str,
) -> Result:
    """Measure the barrier between A and B by both definitions in use."""
    from zooalign.pipelines.barrier import barrier_models
    from zooalign.release.settings import Loading

    with progress_bar() as progress:
        report = barrier_models(
            a,
            b,
            data=data,
            test=test,
            calibration=calibration,
            align=align,
            model=model,
            reset=reset,
            alphas=alphas,
            plot=plot,
            seed=seed,
            device=device,
            loading=Loading(batch_size, limit),
            allow_pickle=allow_pickle,
            progress=progress,
        )

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        curve = report.measured.curve
        table = Table("alpha", "loss", "accuracy")
        for index, alpha in enumerate(curve.alphas):
            right = curve.train.accuracy
            table.add_row(
                f"{alpha:.3f}",
                f"{curve.train.loss[index]:.4f}",
                "" if right is None else f"{right[index]:.4f}",
            )
        console.print(table)
        _options.show_barriers(console, [report.measured.to_dict()])
        if curve.statistics_reset:
            console.print("running statistics were reset between the ends")
        if report.aligned is not None:
            console.print(escape(report.aligned.diagnosis.verdict))
        if report.plot is not None:
            console.print(f"written: {escape(report.plot)}")

    return Result(report.to_dict(), show)
