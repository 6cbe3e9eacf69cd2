"""Files and directories that appear whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from zooalign.errors import CheckpointError
from zooalign.zoo import crash_recovery

__all__ = ["atomic_write", "check_room", "check_target", "new_directory", "safe_name"]

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_MODEL = "*.safetensors"


def atomic_write(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing a file that is there; on any error nothing changes.

    Raises
    ------
    CheckpointError
        The disk is full or the directory cannot be written to.
    """
    path = Path(path)
    aside = path.parent / crash_recovery.partial_name(path.name)
    try:
        crash_recovery.recover(path)
        with aside.open("xb") as file, crash_recovery.locked(aside):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            aside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise CheckpointError(_explain(error, path, len(content))) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def new_directory(
    path: Path | str,
    *,
    needed: int,
    overwrite: bool = False,
    marker: str = _MODEL,
    dry_run: bool = False,
) -> Iterator[Path]:
    """A directory to fill, which becomes ``path`` when the block ends without an error.

    It lies beside ``path`` until then, and is removed, with every parent that was created for it,
    on any error and on Ctrl-C. With ``overwrite`` an existing directory is replaced at the end;
    if that fails it is put back. What a process that was killed left beside ``path`` is put back
    or removed first (:mod:`zooalign.zoo.crash_recovery`).

    Parameters
    ----------
    needed:
        Bytes that will be written; more than is free is an error before the start.
    marker:
        What a directory must hold to be overwritten (a pattern): a model's by default.
    dry_run:
        Refuse what would be refused, give a temporary directory, and write nothing to ``path``.

    Raises
    ------
    CheckpointError
        ``path`` is a file or a directory that is not empty (with ``overwrite``: one without the
        marker), also if it became one meanwhile; or the disk is full.
    """
    path = Path(path).absolute()
    if path.is_symlink():
        path = path.resolve()
    if dry_run:
        check_target(path, overwrite, marker)
        check_room(path, needed)
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    new_parents: list[Path] = []
    aside = path.parent / crash_recovery.partial_name(path.name)
    try:
        crash_recovery.recover(path)
        check_target(path, overwrite, marker)
        new_parents = [parent for parent in path.parents if not parent.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        check_room(path, needed)
        aside.mkdir()
        with crash_recovery.locked(aside):
            yield aside
            for folder, _, names in os.walk(aside):
                for name in names:
                    _sync_file(Path(folder) / name)
                _sync_directory(Path(folder))
            _put_in_place(aside, path, overwrite, marker)
    except BaseException as error:
        # The space is measured before what was written is given back.
        full = isinstance(error, OSError) and _explain(error, path, needed)
        shutil.rmtree(aside, ignore_errors=True)
        for parent in new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if full:
            raise CheckpointError(full) from error
        raise


def safe_name(name: str) -> str:
    """``name`` if it is a relative path that stays inside its directory.

    Raises
    ------
    CheckpointError
        It is not.
    """
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise CheckpointError(f"{name!r} is not a file name inside the output directory")
    return name


def check_target(path: Path, overwrite: bool, marker: str = _MODEL) -> None:
    """Refuse a place for :func:`new_directory` that must not be replaced, and so deleted.

    Raises
    ------
    CheckpointError
        ``path`` is a file or a directory that is not empty; with ``overwrite`` one without the
        marker, or a git repository.
    """
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path}: is a file; name a directory to write to")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not overwrite:
        raise CheckpointError(
            f"{path}: is not empty; name another directory, or ask to overwrite it (--overwrite)"
        )
    if (path / ".git").exists() or not any(path.glob(marker)):
        what = "a model's directory" if marker == _MODEL else "a report of this command"
        raise CheckpointError(
            f"{path}: is not overwritten, as it does not look like {what} (no "
            f"{marker.lstrip('*')} file in it, or a git repository); remove it yourself or name "
            "another"
        )


def check_room(path: Path, needed: int) -> None:
    """Refuse to begin what would fill the disk that ``path`` is to be on.

    Raises
    ------
    CheckpointError
        Fewer bytes are free than ``needed``.
    """
    path = path.absolute()
    if needed > _free(path):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise CheckpointError(_explain(full, path, needed))


def _free(path: Path) -> int:
    """Bytes that are free on the disk of a path that need not exist yet."""
    return shutil.disk_usage(next(parent for parent in path.parents if parent.exists())).free


def _put_in_place(aside: Path, path: Path, overwrite: bool, marker: str) -> None:
    """Rename, one run at a time: another may have written ``path`` since the start."""
    with crash_recovery.locked(path.parent, wait=True):
        check_target(path, overwrite, marker)
        if not path.exists():
            aside.rename(path)
            _sync_directory(path.parent)
            return
        old = path.parent / crash_recovery.replaced_name(path.name)
        path.rename(old)
        try:
            aside.rename(path)
        except BaseException:
            old.rename(path)
            raise
        _sync_directory(path.parent)
        # Under the name of something half-written: half of it must never be put back.
        doomed = old.rename(path.parent / crash_recovery.partial_name(path.name))
        with crash_recovery.locked(doomed):
            shutil.rmtree(doomed, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: Path, needed: int) -> str:
    if error.errno not in _FULL:
        return f"{path}: cannot be written: {error.strerror or error}; nothing was left behind"
    return (
        f"{path}: the disk is full ({error.strerror}): {needed} bytes are needed, "
        f"{_free(path)} are free here; nothing was left behind"
    )
