"""What commands print: JSON alone on stdout, or text for people; progress and notes on stderr."""

import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from zooalign.cli._defaults import default_arguments
from zooalign.cli._session import session
from zooalign.progress import Progress, silent
from zooalign.release.results import json_text
from zooalign.text import escape_json, printable

__all__ = [
    "Output",
    "command_line",
    "console",
    "drawn_on",
    "escape",
    "formatted",
    "print_error",
    "print_json",
    "print_note",
    "print_table",
    "progress_bar",
    "short",
    "show_barriers",
    "show_written",
]


@dataclass(frozen=True)
class Output:
    """What a command prints, ``data`` as JSON and ``show`` as text, and its exit code."""

    data: Any
    show: Callable[[Any], None]
    code: int = 0


def formatted(function: Callable[..., Output]) -> Callable[..., None]:
    """Give a command ``--format`` and print its result. Place it below ``click.command``."""

    @click.option(
        "--format",
        "format_",
        type=click.Choice(["human", "json"]),
        default="human",
        show_default=True,
        help="With json, stdout holds one JSON document (fields: docs/cli.md).",
    )
    @functools.wraps(function)
    def wrapped(format_: str, **options: Any) -> None:
        result = function(**options)
        if format_ == "json":
            print_json(result.data)
        else:
            result.show(console())
        if result.code:
            click.get_current_context().exit(result.code)

    return wrapped


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(escape_json(json_text(value, indent=2)))


def print_error(message: str, hint: str = "") -> None:
    """An error on stderr."""
    print_note("error", message)
    if hint:
        print_note("hint", hint)


def print_note(kind: str, message: str) -> None:
    """``kind: message`` on stderr, coloured on a terminal; further lines are indented."""
    colour = {"error": "red", "warning": "yellow"}.get(kind, "cyan")
    session().note(kind, message)
    if session().verbosity < 0 and kind != "error":
        return
    text = printable(message, keep="\n").replace("\n", "\n  ")
    prefix = click.style(f"{kind}:", fg=colour, bold=True)
    click.echo(f"{prefix} {text}", err=True, color=session().color)


def command_line() -> str:
    """The command line that runs, to be typed again anywhere: with defaults that a file gave."""
    context = click.get_current_context()
    arguments = context.find_root().obj or []
    return shlex.join(["zooalign", *arguments, *default_arguments(context)])


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A function of (stage, done, total) that draws on stderr; silent where that is no terminal."""
    if not sys.stderr.isatty() or session().verbosity < 0:
        yield session().timed(silent)
        session().end_stage()
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    on_stderr = Console(stderr=True, no_color=session().color is False or None)
    with rich.Progress(*columns, console=on_stderr, transient=True) as bar:
        yield session().timed(drawn_on(bar))
    session().end_stage()


def drawn_on(bar: Any) -> Progress:
    """A function of (stage, done, total) that draws on a ``rich`` progress bar."""
    current = ""

    def report(stage: str, done: int, total: int) -> None:
        nonlocal current
        if stage != current:
            # A new task: to an old one, no total means the total of the stage before.
            for task in bar.task_ids:
                bar.remove_task(task)
            bar.add_task(stage, total=total or None)
            current = stage
        bar.update(bar.task_ids[0], completed=done, total=total or None)

    return report


def console() -> Any:
    """A console on stdout that escapes control characters."""
    from rich.console import Console

    class SafeConsole(Console):
        """Whatever is printed as a string, cells of tables too, goes through here."""

        def render_str(self, text: str, **settings: Any) -> Any:
            return super().render_str(printable(text, keep="\n\t"), **settings)

        def on_broken_pipe(self) -> None:
            """Ended as every command is, in place of an exit with what means findings here."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    on_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if on_terminal else 120
    no_color = session().color is False or None
    return SafeConsole(
        file=sys.stdout, highlight=False, width=width, soft_wrap=True, no_color=no_color
    )


def escape(text: str) -> str:
    """``text`` with its square brackets shown as they are."""
    from rich.markup import escape

    return escape(text)


def print_table(console: Any, header: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table whose cells are markup; what is wider than its column goes on below."""
    from rich.table import Column, Table

    table = Table(*(Column(name, overflow="fold") for name in header))
    for row in rows:
        table.add_row(*row)
    console.print(table, soft_wrap=False)


def short(digest: str) -> str:
    """The first digits of a hash, for people; JSON has all of it."""
    return digest[:16]


def show_written(console: Any, output: str, dry_run: bool) -> None:
    """Print which directory was written, or that none was."""
    how = "was not written (dry run)" if dry_run else "written"
    console.print(f"[bold]{escape(output)}[/bold] {how}")


def show_barriers(console: Any, curves: Any) -> None:
    """Print the barriers of curves by both definitions."""
    for curve in curves or ():
        for quantity, barrier in curve.barrier.items():
            console.print(
                f"barrier ({escape(curve.label)}, {quantity}): {barrier.over_line:.4f} over the "
                f"line, {barrier.over_mean:.4f} over the mean"
            )
