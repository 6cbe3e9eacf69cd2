"""``zooalign merge``: average models, aligned to the first."""

from typing import Any

import click

from zooalign.cli import _options
from zooalign.cli._output import Result, command_line, formatted, progress_bar

__all__ = ["command"]


@click.command("merge", short_help="Average models, aligned to the first.")
@click.argument("references", metavar="A B [C ...]", nargs=-1, required=True)
@_options.output_options
@click.option("--weights", metavar="W,W,...", help="One number per model; equal by default.")
@_options.opening
@_options.method("none")
@_options.matching_options
@_options.settings
@click.option("--data", metavar="DATA", help="Image folder, .npz or py:module:callable.")
@click.option(
    "--reset/--no-reset",
    default=True,
    show_default=True,
    help="Recompute running statistics on --data where the architecture has them.",
)
@click.option(
    "--through",
    metavar="reference|universe|mean|auto",
    default="reference",
    show_default=True,
    help="Each model to the first, or all at once (by activation or weight).",
)
@click.option("--repair", is_flag=True, help="REPAIR the layers no norm follows.")
@click.option("--evaluate", metavar="DATA", help="Measure accuracy and barriers on this data.")
@_options.alphas
@_options.data_options
@_options.seed
@_options.device
@formatted
def command(
    references: tuple[str, ...],
    output: str,
    overwrite: bool,
    weights: str | None,
    model: str | None,
    allow_pickle: bool,
    method: str,
    starts: int | None,
    kind: str | None,
    settings: tuple[str, ...],
    through: str,
    data: str | None,
    reset: bool,
    repair: bool,
    evaluate: str | None,
    alphas: int,
    batch_size: int,
    limit: int | None,
    seed: int,
    device: str,
) -> Result:
    """Average A, B, ... with every model brought in the order of A's units, and write DIR."""
    from zooalign.pipelines.merge import merge_models
    from zooalign.release.settings import Loading

    with progress_bar() as progress:
        report = merge_models(
            references,
            output,
            weights=_numbers(weights),
            model=model,
            method=method,
            through=through,
            data=data,
            evaluate=evaluate,
            alphas=alphas,
            reset=reset,
            repair=repair,
            seed=seed,
            device=device,
            loading=Loading(batch_size, limit),
            options=_options.matching(method, starts=starts, kind=kind, settings=settings),
            allow_pickle=allow_pickle,
            overwrite=overwrite,
            command=command_line(),
            progress=progress,
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
        if made.score and made.score["accuracy"] is not None:
            console.print(f"accuracy of the merge: {made.score['accuracy']:.4f}")
        _options.show_barriers(console, made.barrier)

    return Result(report.to_dict(), show)


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not numbers separated by commas", param_hint="--weights"
        ) from None
