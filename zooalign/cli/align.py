"""``zooalign align``: bring one model's units in the order of another's."""

from typing import Any

import click

from zooalign.cli import _options
from zooalign.cli._output import Result, command_line, formatted, progress_bar

__all__ = ["command"]


@click.command("align", short_help="Bring SOURCE's units in the order of TARGET's.")
@click.argument("target")
@click.argument("source")
@_options.output_options
@_options.opening
@_options.method()
@_options.matching_options
@_options.settings
@click.option("--data", metavar="DATA", help="Image folder, .npz or py:module:callable.")
@click.option("--evaluate", metavar="DATA", help="Measure the barrier on this data (targets).")
@_options.alphas
@_options.data_options
@_options.seed
@_options.device
@formatted
def command(
    target: str,
    source: str,
    output: str,
    overwrite: bool,
    model: str | None,
    allow_pickle: bool,
    method: str,
    starts: int | None,
    kind: str | None,
    settings: tuple[str, ...],
    data: str | None,
    evaluate: str | None,
    alphas: int,
    batch_size: int,
    limit: int | None,
    seed: int,
    device: str,
) -> Result:
    """Permute the units of SOURCE to correspond to TARGET's and write the result to DIR.

    The output computes the same function as SOURCE; that is checked before it is written.
    """
    from zooalign.pipelines.align import align_models
    from zooalign.release.settings import Loading

    with progress_bar() as progress:
        report = align_models(
            target,
            source,
            output,
            model=model,
            method=method,
            data=data,
            evaluate=evaluate,
            alphas=alphas,
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
        _options.show_barriers(console, report.provenance.barrier)

    return Result(report.to_dict(), show)
