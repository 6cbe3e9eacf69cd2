"""``zooalign plan``: what an alignment or a merge will read, hold and write."""

from typing import Any

import click

from zooalign.cli._options import MODEL, PATH, settings_options
from zooalign.cli._output import Output, escape, formatted, print_table
from zooalign.release.settings import MergeSettings

__all__ = ["command"]


@click.command("plan", short_help="Tell what align or merge will read, hold and write.")
@click.argument("operation", type=click.Choice(["align", "merge"]))
@click.argument("references", type=MODEL, metavar="A B [C ...]", nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Directory that would be written.")
@settings_options(MergeSettings, without=["combine", "dry_run", "overwrite"])
@formatted
def command(
    operation: Any, references: tuple[str, ...], output: str | None, settings: MergeSettings
) -> Output:
    """Tell what `zooalign align` or `merge` with these options will take, without reading weights.

    The exit code is 1 where memory (--memory) or the disk of DIR is too small.
    """
    from zooalign.pipelines.plan import plan

    planned = plan(operation, references, settings, output)

    def show(console: Any) -> None:
        rows = [
            ("reads", _size(planned.reads)),
            ("writes", _size(planned.writes)),
            ("free on the disk", "?" if planned.free is None else _size(planned.free)),
            ("holds at most, about", _size(planned.holds)),
            *((f"  {part.what}", _size(part.bytes)) for part in planned.parts),
            ("takes about", _time(planned.seconds)),
        ]
        print_table(console, (f"{planned.operation} --method {planned.method}", ""), rows)
        for problem in planned.problems:
            console.print(f"[red]too small[/red] {escape(problem)}")

    return Output(planned, show, code=1 if planned.problems else 0)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.0f} s of one core"
