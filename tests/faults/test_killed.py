"""``kill -9`` before each step on the disk: whole outputs, nothing lost, nothing left."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import killing as killing_program
import pytest
from forked import forked
from released_pairs import Pairs

from zooalign.errors import CheckpointError
from zooalign.pipelines.assemble import require_output
from zooalign.zoo import crash_recovery
from zooalign.zoo.files import atomic_write, new_directory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL"),
]
PROGRAM = Path(killing_program.__file__)


def killing(folder: Path, *arguments: str) -> dict[str, dict[str, int]]:
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    done = forked(code, str(PROGRAM), str(folder), *arguments, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_killed_in_every_writing_step(tmp_path: Path) -> None:
    found = killing(tmp_path / "work")
    assert set(found) == {"new directory", "replaced directory", "replaced file"}
    for name, counts in found.items():
        assert counts["kills"] == counts["steps"] >= 2, name
        assert counts["with_leftovers"] >= counts["steps"] // 2, name
    assert found["replaced directory"]["steps"] > found["new directory"]["steps"] > 10


def test_killed_commands(tmp_path: Path, pairs: Pairs) -> None:
    # The card names the folder, so that both runs must have one.
    words = ["align", *pairs.vit, "--method", "weight"]
    counts = killing(tmp_path / "work", "4", *words)["align"]
    assert counts["kills"] == 4 and counts["steps"] > 20


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """Another run's half-written directory and file stay, and so do strangers' hidden names."""
    theirs = tmp_path / crash_recovery.partial_name("out")
    strange = tmp_path / ".out.1-zzzzzzzz.partial"
    theirs.mkdir()
    strange.mkdir()
    dead = tmp_path / f".out.{_dead_process()}-00000000.partial"
    other = tmp_path / f".outer.{_dead_process()}-00000000.partial"
    locked = tmp_path / f".out.{_dead_process()}-11111111.partial"
    for folder in (dead, other, locked):
        folder.mkdir()
    with crash_recovery.locked(locked), new_directory(tmp_path / "out", needed=1) as directory:
        assert directory.exists() and not dead.exists()
    assert all(path.exists() for path in (theirs, strange, other, locked))


def test_writing_by_relative_paths_where_something_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that works inside its half-written directory waits for no lock of its own."""
    with new_directory(tmp_path / "out", needed=1) as directory:
        monkeypatch.chdir(directory)
        writer = threading.Thread(target=_write_here, daemon=True)
        writer.start()
        writer.join(timeout=60)
        assert not writer.is_alive(), "waits for itself"
        monkeypatch.chdir(tmp_path)
    written = {path.name for path in (tmp_path / "out").rglob("*")}
    assert written == {"inner", "weights", "file"}


def _write_here() -> None:
    require_output("inner", overwrite=False)
    with new_directory("inner", needed=1) as inner:
        (inner / "weights").write_bytes(b"")
    atomic_write("file", b"")


def test_an_old_directory_is_put_back(tmp_path: Path) -> None:
    old = tmp_path / f".out.{_dead_process()}-00000000.replaced"
    old.mkdir()
    (old / "a.safetensors").write_bytes(b"old")
    with (
        pytest.raises(KeyboardInterrupt),
        new_directory(tmp_path / "out", needed=1, overwrite=True),
    ):
        assert (tmp_path / "out" / "a.safetensors").read_bytes() == b"old"
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    atomic_write(tmp_path / "out" / "b", b"")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.safetensors", "b"]


def _dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_a_killed_run_replaced_is_put_back_before_the_place_is_judged(tmp_path: Path) -> None:
    old = tmp_path / f".out.{_dead_process()}-00000000.replaced"
    old.mkdir()
    (old / "model.safetensors").write_bytes(b"old")
    with pytest.raises(CheckpointError, match="not empty"):
        require_output(str(tmp_path / "out"), overwrite=False)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"old"
