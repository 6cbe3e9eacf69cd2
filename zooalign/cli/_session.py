"""How much a command tells on the side: ``-v``, ``-q``, ``--no-color`` and the log file."""

import os
import shlex
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from zooalign.progress import Progress
from zooalign.text import printable

__all__ = ["Session", "session", "session_options", "start_session"]


@dataclass
class Session:
    """One run of the command line.

    ``verbosity`` is -1 for quiet (errors alone on stderr), 1 for the time that each stage took.
    """

    verbosity: int = 0
    color: bool | None = None
    log: Path | None = None
    started: float = field(default_factory=time.perf_counter)
    warned: set[str] = field(default_factory=set)
    stage: str = ""
    stage_since: float = 0.0

    def note(self, level: str, message: str) -> None:
        """A line of the log file."""
        if self.log is not None:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            text = printable(message, keep="\n").replace("\n", "\n    ")
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{at} {level:<7} {text}\n")

    def timed(self, progress: Progress) -> Progress:
        """``progress``, whose stages are noted with the seconds that each took."""

        def report(name: str, done: int, total: int) -> None:
            if name != self.stage:
                self.end_stage()
                self.stage, self.stage_since = name, time.perf_counter()
            progress(name, done, total)

        return report

    def end_stage(self) -> None:
        """Note the time of the last stage, where one is running."""
        if self.stage:
            message = f"{self.stage}: {time.perf_counter() - self.stage_since:.2f} s"
            self.note("time", message)
            if self.verbosity > 0:
                click.echo(message, err=True)
        self.stage = ""

    def close(self, code: int) -> None:
        """Note how the command ended."""
        self.note("end", f"exit code {code}, {time.perf_counter() - self.started:.2f} s")


_SESSION: ContextVar[Session | None] = ContextVar("session", default=None)


def session() -> Session:
    """That of the command that runs."""
    return _SESSION.get() or start_session()


def start_session() -> Session:
    """A new one; NO_COLOR (no-color.org) counts as ``--no-color``."""
    new = Session(color=False if os.environ.get("NO_COLOR") else None)
    _SESSION.set(new)
    return new


def _set_verbosity(_: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        session().verbosity = 1 if parameter.name == "verbose" else -1


def _set_color(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.color = session().color = False


def _open_log(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from zooalign.release.versions import versions

    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    session().log = Path(value)
    try:
        session().note("start", shlex.join(["zooalign", *(context.find_root().obj or [])]))
    except OSError as error:
        session().log = None
        raise click.BadParameter(f"{value}: cannot be written: {error.strerror}") from error
    session().note("with", installed)


def session_options() -> list[click.Option]:
    """The options of every command that :class:`Session` holds."""
    common: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            callback=_set_verbosity,
            help="Also show how long each stage took.",
            **common,
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            callback=_set_verbosity,
            help="No progress, notes or warnings on stderr: errors alone.",
            **common,
        ),
        click.Option(
            ["--no-color"], is_flag=True, callback=_set_color, help="No colours.", **common
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(readable=False),
            metavar="FILE",
            callback=_open_log,
            help="Append times, warnings and errors to FILE.",
            **common,
        ),
    ]
