"""How every command ends: exit codes, one message on stderr, JSON errors on stdout."""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import click

from zooalign.cli._output import print_error, print_json, print_note
from zooalign.cli._session import session
from zooalign.errors import ZooalignError, ZooalignWarning, is_out_of_memory
from zooalign.text import first_line

__all__ = [
    "COULD_NOT_RUN",
    "DEBUG",
    "FINDINGS",
    "FINE",
    "ErrorResult",
    "discard_output",
    "run_safely",
]

FINE, FINDINGS, COULD_NOT_RUN = 0, 1, 2
# What a system says where it cannot take what is written.
_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_NO_MEMORY = "out of memory; nothing half-written was left behind"
DEBUG = "ZOOALIGN_DEBUG"


@dataclass(frozen=True)
class ErrorBody:
    """Why a command could not run."""

    type: str
    message: str
    hint: str | None


@dataclass(frozen=True)
class ErrorResult:
    """The JSON of every command that could not run (``docs/cli.md``)."""

    error: ErrorBody


def run_safely(run: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run a command and turn whatever it does into an exit code.

    The code is 0, or what the command exited with (1 for findings); 2 for every error and for an
    interruption. With ``ZOOALIGN_DEBUG=1`` tracebacks are shown.
    """
    json = _wants_json(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always" if _debugging() else "ignore")
            warnings.simplefilter("always", ZooalignWarning)
            warnings.showwarning = _show  # type: ignore[assignment]
            result = run()
        return result if isinstance(result, int) else FINE
    except click.ClickException as error:
        return _failed("usage", error.format_message(), json, _usage_hint(error))
    except ZooalignError as error:
        return _failed(type(error).__name__, str(error), json)
    except (click.Abort, KeyboardInterrupt):
        return _failed("Interrupted", "interrupted; nothing half-written was left behind", json)
    except Exception as error:
        if is_out_of_memory(error):
            return _failed("MemoryError", _NO_MEMORY, json)
        if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
            where = error.filename or "the standard output"
            discard_output()
            message = f"{where} cannot be written to: {error.strerror}"
            return _failed("OSError", message, False, "free some space, or write elsewhere")
        message = f"unexpected {type(error).__name__}: {first_line(error)}"
        hint = f"this is a bug in zooalign or a plugin; set {DEBUG}=1 for the traceback"
        return _failed(type(error).__name__, message, json, hint)


def _failed(kind: str, message: str, json: bool, hint: str = "") -> int:
    if _debugging():
        traceback.print_exc()
    print_error(message, hint)
    if json:
        print_json(ErrorResult(ErrorBody(kind, message, hint or None)))
    return COULD_NOT_RUN


def discard_output() -> None:
    """Let what is still to be written to stdout go nowhere: at exit, Python would try again."""
    with suppress(OSError, ValueError):  # a stdout without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _debugging() -> bool:
    return os.environ.get(DEBUG, "") not in ("", "0")


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see: {context.command_path} --help" if context is not None else ""


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--format json`` was given, even where the arguments do not parse."""
    pairs = pairwise([*arguments, ""])
    return any(a == "--format=json" or (a == "--format" and b == "json") for a, b in pairs)


def _show(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, ZooalignWarning):
        if str(message) not in session().warned:  # a file that is opened twice
            print_note("warning", str(message))
        session().warned.add(str(message))
    elif _debugging():
        print(f"{category.__name__}: {message}", file=sys.stderr)
