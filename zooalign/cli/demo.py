"""``zooalign demo``: train, align, merge, check and publish in one command."""

from typing import Any

import click

from zooalign.cli._options import settings_options
from zooalign.cli._output import Output, escape, formatted, progress_bar
from zooalign.release.settings import DemoSettings

__all__ = ["command"]


@click.command(
    "demo", short_help="Train, align, merge, check and publish two small models locally."
)
@click.option("-o", "--output", metavar="DIR", help="Directory to write [default: zooalign-demo].")
@settings_options(DemoSettings, without=["calibration"])
@formatted
def command(output: str | None, settings: DemoSettings) -> Output:
    """Train two small timm networks from different seeds and merge them into one.

    They are trained on scikit-learn's handwritten digits, aligned by activation matching,
    merged, checked, published to a local hub and downloaded again. Exit code 1 if a check fails.
    """
    from zooalign.demo import run_demo

    with progress_bar() as progress:
        report = run_demo(output, settings, progress=progress)

    def show(console: Any) -> None:
        for line in _lines(report, settings.dry_run):
            console.print(line)

    return Output(report, show, 0 if report.ok else 1)


def _lines(report: Any, dry_run: bool) -> list[Any]:
    from rich.table import Table

    table = Table("", "midpoint accuracy", "error barrier", "loss barrier")
    for name, line in (("as they are", report.before), ("aligned", report.after)):
        both = [
            f"{line.barrier[of]['over_line']:.3f} ({line.barrier[of]['over_mean']:.3f})"
            for of in ("error", "loss")
        ]
        table.add_row(name, f"{line.midpoint_accuracy:.3f}", *both)
    first, second = report.networks
    train, test = report.rows.values()
    downloaded = report.downloaded
    verdict = "[green]passed[/green]" if report.check.ok else "[red]FAILED[/red]"
    where = (
        f"{escape(report.output)} was not written (dry run)"
        if dry_run
        else f"The curve is {escape(report.output)}/barrier.svg, and the folder holds everything"
    )
    same = report.published.same_bytes and downloaded.max_relative_error == 0
    return [
        f"[bold]1. Train[/bold] two {report.architecture} ({report.parameters:,} parameters) on "
        f"{train} digits: accuracy {first.accuracy:.3f} and {second.accuracy:.3f} on {test} "
        "others.",
        f"[bold]2. Symmetries[/bold]: {report.spec.groups} groups, "
        f"10^{report.spec.log10_order:.2f} permutations that change nothing (error "
        f"{report.spec.max_relative_error:.0e}, rounding explains "
        f"{report.spec.tolerance:.0e}).",
        f"[bold]3. Align[/bold] by activations: {report.align.moved_fraction:.0%} of units move, "
        f"and the function stays the same (error {report.align.max_relative_error:.0e}).",
        table,
        "   Barriers over the line between the ends (in brackets: over their mean).",
        f"[bold]4. Merge[/bold]: accuracy {report.merged.accuracy:.3f}. Check: {verdict}, "
        f"{len(report.check.checks)} checks, {len(report.check.findings)} findings.",
        f"[bold]5. Publish[/bold] to a hub on this machine: {report.published.files} files in "
        f"commit {report.published.commit[:12]}; downloaded back, timm loads it: "
        f"{'same bytes, same function' if same else '[red]NOT THE SAME[/red]'}, accuracy "
        f"{downloaded.accuracy:.3f}.",
        f"{where} ({report.seconds:.0f} s).",
    ]
