"""What a killed process left beside its target: half-written work to remove, old work to put back.

A target ``out`` is written as ``.out.PID-XXXXXXXX.partial`` beside it; while it is replaced, the
old one is called ``.out.PID-XXXXXXXX.replaced`` for a moment. Both are locked (``flock``) by the
process that works on them, and the system releases the lock when the process ends, however it ends.
A leftover is touched only if it is not locked and its process is gone, so neither a run in another
container nor a number that is used again is taken for dead.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing is taken for a leftover
    fcntl = None  # type: ignore[assignment]

__all__ = ["locked", "partial_name", "recover", "replaced_name"]

_PARTIAL, _REPLACED = "partial", "replaced"
_HIDDEN = re.compile(rf"\..+\.[0-9]+-[0-9a-f]{{8}}\.({_PARTIAL}|{_REPLACED})")


def partial_name(name: str) -> str:
    """The hidden name under which ``name`` is written."""
    return _hidden(name, _PARTIAL)


def replaced_name(name: str) -> str:
    """The hidden name under which the old ``name`` lies while it is replaced."""
    return _hidden(name, _REPLACED)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock on a file or directory; the value is whether it was free.

    Without ``wait``, a lock that another process holds is not waited for; nor is that of something
    half-written, which is held by who writes it, perhaps this very process. A file system
    without locks counts as locked by another.
    """
    wait = wait and not _half_written(path)
    if fcntl is None:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        free = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            free = False
        yield free
    finally:
        os.close(descriptor)


def recover(path: Path) -> None:
    """Clean up beside ``path`` after processes that are gone.

    If ``path`` is missing because its process was killed while replacing it, the old one is put
    back. Everything else that such processes left is removed.
    """
    if fcntl is None or not path.parent.is_dir():
        return
    if _half_written(path.parent):
        return  # nobody was killed while replacing something in it
    with locked(path.parent, wait=True):
        for kind in (_REPLACED, _PARTIAL):
            for leftover in _leftovers(path, kind):
                with contextlib.suppress(OSError), locked(leftover) as free:
                    if not free:
                        continue
                    if kind == _REPLACED and not path.exists():
                        leftover.rename(path)
                    elif leftover.is_dir():
                        shutil.rmtree(leftover, ignore_errors=True)
                    else:
                        leftover.unlink()


def _half_written(path: Path) -> bool:
    """Whether this is something half-written, also where it is the working directory (``.``)."""
    return _HIDDEN.fullmatch(path.resolve().name) is not None


def _hidden(name: str, kind: str) -> str:
    return f".{name}.{os.getpid()}-{secrets.token_hex(4)}.{kind}"


def _leftovers(path: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([0-9]+)-[0-9a-f]{{8}}\.{kind}")
    return [
        entry
        for entry in sorted(path.parent.iterdir())
        if (match := pattern.fullmatch(entry.name))
        and not entry.is_symlink()
        and not _alive(int(match[1]))
    ]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        pass
    return True
