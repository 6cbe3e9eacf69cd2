"""A process that is killed (SIGKILL) before its n-th step on the disk, for every n.

Run as a program: ``killing.py FOLDER KILLS``. It imports everything once and forks for each run,
so that hundreds of runs take seconds. A step is an event of the interpreter's own audit
(``open`` for writing, ``os.mkdir``, ``os.rename``, ``os.remove``, ``os.rmdir``) that names a path
in FOLDER, or the bytes of a tensor that are about to be written: a shard is one open file, in whose
middle a kill must be harmless too. The writer is otherwise as it is.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Python has no event for a write to an open file: each tensor that is written raises this one.
_TENSOR = "zooalign_test.tensor"
_STEPS = (_TENSOR, "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


def in_fork(work: Callable[[], int], folder: Path, kill_at: int | None) -> tuple[int, int]:
    """Run in a child: (exit code or minus signal, number of steps if it ended by itself)."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def audit(event: str, args: tuple[object, ...]) -> None:
            nonlocal seen
            write = event == "open" and isinstance(args[2], int) and args[2] & 0o3
            if not (write or event in _STEPS) or str(folder) not in str(args[0]):
                return
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        from zooalign.zoo import writer

        bytes_of = writer._bytes_of

        def audited(tensor: object) -> memoryview:
            sys.audit(_TENSOR, str(folder))
            return bytes_of(tensor)

        writer._bytes_of = audited
        sys.addaudithook(audit)
        code = 70
        try:
            code = work()
        finally:
            os.write(send, str(seen).encode())
            os._exit(code)
    os.close(send)
    text = os.read(receive, 100)
    os.close(receive)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(text or b"0")


def content(path: Path) -> dict[str, str] | None:
    """Files and bytes under ``path``; None if it is not there."""
    import hashlib

    if not path.exists():
        return None
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in [path, *sorted(path.rglob("*"))]
        if p.is_file()
    }


def kill_everywhere(
    work: Callable[[Path], int], target: Path, before: Callable[[], None], points: int | None
) -> dict[str, int]:
    """Kill ``work(target)`` before each of its steps (or ``points`` of them), then run it again.

    ``before`` brings the target's folder in its first state. The target must be what it was or
    what it becomes after a kill, and what it becomes after the run that follows, with nothing
    beside it.
    """
    folder = target.parent
    before()
    old = content(target)
    around = sorted(p.name for p in folder.iterdir() if p != target)
    code, steps = in_fork(lambda: work(target), folder, None)
    assert code == 0, f"the run itself ends with {code}"
    new = content(target)
    assert new and new != old
    chosen = range(1, steps + 1)
    if points is not None and points < steps:
        chosen = sorted({1 + round(i * (steps - 1) / (points - 1)) for i in range(points)})  # type: ignore[assignment]
    hidden = 0
    for number in chosen:
        before()
        code, _ = in_fork(lambda: work(target), folder, number)
        assert code == -signal.SIGKILL, (number, code)
        found = content(target)
        hidden += sorted(p.name for p in folder.iterdir() if p != target) != around
        assert found in (old, new, None), f"step {number}: half a target: {found}"
        if found is None and old is not None:
            kept = [content(p) for p in folder.iterdir() if p.name.endswith(".replaced")]
            assert kept == [old], f"step {number}: the old one is lost"
        code, _ = in_fork(lambda: work(target), folder, None)
        assert code == 0, f"step {number}: the next run ends with {code}"
        assert content(target) == new, f"step {number}: the next run gives something else"
        beside = sorted(p.name for p in folder.iterdir() if p != target)
        assert beside == around, f"step {number}: left over: {beside}"
    return {"steps": steps, "kills": len(chosen), "with_leftovers": hidden}


def _cases(folder: Path) -> dict[str, dict[str, int]]:
    import shutil

    import torch

    from zooalign.errors import CheckpointError
    from zooalign.zoo.files import atomic_write
    from zooalign.zoo.writer import write_model

    tensors = {f"layer.{i}.weight": torch.full((8, 8), float(i)) for i in range(6)}

    def write(target: Path, *, overwrite: bool, value: float = 0.0) -> int:
        changed = {name: tensor + value for name, tensor in tensors.items()}
        try:
            write_model(
                target,
                changed,
                extra_files={"README.md": b"card", "zooalign/spec.json": b"{}"},
                max_shard_size=600,
                overwrite=overwrite,
            )
        except CheckpointError as error:
            if overwrite or "is not empty" not in str(error):
                raise
        return 0

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "beside.txt").write_text("of somebody else")

    def replaced() -> None:
        empty()
        write(folder / "out", overwrite=False, value=7.0)

    def old_file() -> None:
        empty()
        (folder / "spec.json").write_bytes(b"old")

    def file(target: Path) -> int:
        atomic_write(target, b"new" * 1000)
        return 0

    return {
        "new directory": kill_everywhere(
            lambda path: write(path, overwrite=False), folder / "out", empty, None
        ),
        "replaced directory": kill_everywhere(
            lambda path: write(path, overwrite=True), folder / "out", replaced, None
        ),
        "replaced file": kill_everywhere(file, folder / "spec.json", old_file, None),
    }


def _commands(folder: Path, points: int, words: list[str]) -> dict[str, dict[str, int]]:
    import shutil

    from zooalign.cli import main

    def run(target: Path) -> int:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return main([*words, "-o", str(target)], standalone_mode=False)

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

    main([*words, "-o", str(folder / "warm")], standalone_mode=False)  # what is imported late
    return {words[0]: kill_everywhere(run, folder / "out", empty, points)}


if __name__ == "__main__":
    work_in = Path(sys.argv[1])
    if len(sys.argv) == 2:
        print(json.dumps(_cases(work_in)))
    else:
        result = _commands(work_in, int(sys.argv[2]), sys.argv[3:])
        print("\n" + json.dumps(result))
