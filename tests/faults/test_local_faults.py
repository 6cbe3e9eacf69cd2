"""Full disks, read-only targets, too little memory, two runs at a time: real ones, in processes."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_calls import RUN
from forked import forked
from released_pairs import Pairs

from zooalign.errors import CheckpointError
from zooalign.gate.check import check
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.files import new_directory
from zooalign.zoo.writer import write_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="resource limits, users"),
]


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


MAIN = "import sys; from zooalign.cli import main; "
# A file system of its own, in a namespace of its own (as `unshare -rm` and `mount` make them).
MOUNT = """
import ctypes, os, sys
at, flags, options = {at!r}, {flags}, {options!r}
libc, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x20000): sys.exit(99)
maps = {{"setgroups": "deny", "uid_map": f"0 {{user}} 1", "gid_map": f"0 {{group}} 1"}}
for name, text in maps.items():
    with open(f"/proc/self/{{name}}", "w") as file: file.write(text)
if libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None): sys.exit(99)
if libc.mount(b"none", at.encode(), b"tmpfs", flags, options.encode()): sys.exit(99)
os.chdir(at)
"""
READ_ONLY = 1


@pytest.fixture
def run(work: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python source with arguments in ``work``."""
    return lambda code, *words: forked(code, *words, cwd=work)


def mounted(run: Any, code: str, *words: str, at: Path, flags: int = 0, options: str = "") -> Any:
    """Run Python source in ``at``, where a file system is mounted; skip if that is forbidden."""
    done = run(MOUNT.format(at=str(at), flags=flags, options=options) + code, *words)
    if done.returncode == 99 or "Operation not permitted" in done.stderr:
        pytest.skip("nothing can be mounted here")
    return done


def test_a_full_disk_for_a_single_file(run: Any, work: Path, pairs: Pairs) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
    done = run(limit + RUN, "spec", pairs.vit[0], "-o", "s.json")
    assert done.returncode == 2 and "the disk is full" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and listing(work) == []


def test_a_disk_that_is_really_full(run: Any, work: Path, pairs: Pairs) -> None:
    code = MAIN + "code = main(sys.argv[1:], standalone_mode=False); import os; "
    code += "print(os.listdir()); sys.exit(code)"
    words = ["align", *pairs.vit, "--method", "weight", "-o", "out"]
    done = mounted(run, code, *words, at=work, options="size=64k")
    assert done.returncode == 2 and "the disk is full" in done.stderr, done.stderr
    assert "bytes are needed" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "[]\n"


def test_a_read_only_target(run: Any, work: Path, pairs: Pairs) -> None:
    code = MAIN + "a, b, t = sys.argv[1:]; "
    code += (
        "one = main(['align', a, b, '--method', 'weight', '-o', 'out'], standalone_mode=False); "
    )
    code += (
        "two = main(['spec', a, '-o', 's.json'], standalone_mode=False); sys.exit(one * 10 + two)"
    )
    done = mounted(run, code, *pairs.vit, "", at=work, flags=READ_ONLY)
    assert done.returncode == 22, done.stderr
    assert done.stderr.count("cannot be written: Read-only file system") == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_too_little_memory_for_one_tensor(run: Any, work: Path) -> None:
    """The model opens from its header; one tensor does not fit in the memory that is allowed."""
    size = 2**28  # 1 GiB of float32, sparse on disk
    make = (
        "import torch; from zooalign.graph.lazy_state import TensorInfo; "
        "from zooalign.zoo.headers import make_header; "
        f"head, h = make_header({{'weight': TensorInfo((16384, {size // 16384}), torch.float32),"
        " 'bias': TensorInfo((16384,), torch.float32)}, {}); "
        "f = open('w.safetensors', 'wb'); f.write(head); f.truncate(len(head) + 4 * "
        f"({size} + 16384))"
    )
    assert run(make).returncode == 0
    before = listing(work)
    architecture = (
        f"py:torch.nn:Linear?in_features={size // 16384}&out_features=16384&input={size // 16384}"
    )
    code = "import torch, timm, zooalign.pipelines.align; "
    code += "import resource; used = int(open('/proc/self/statm').read().split()[0]) * 4096; "
    code += "resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2); " + RUN
    words = ["align", "w.safetensors", "w.safetensors", "--model", architecture]
    done = run(code, *words, "--method", "weight", "-o", "out")
    assert done.returncode == 2 and "out of memory; nothing half-written" in done.stderr, (
        done.stderr
    )
    assert "bug" not in done.stderr and listing(work) == before


def test_two_runs_into_one_directory(run: Any, work: Path, pairs: Pairs) -> None:
    """Both begin before either has written; one is first, and the other says so."""
    code = """
import os, sys
from zooalign.cli import main
import zooalign.pipelines.align as align
real = align.write_release
def together(*a, **k):
    open("here." + str(os.getpid()), "w").close()
    while sum(name.startswith("here.") for name in os.listdir()) < 2: pass
    return real(*a, **k)
align.write_release = together
words = sys.argv[1:]
child = os.fork()
code = main(words, standalone_mode=False)
if child == 0: os._exit(code)
print(sorted([code, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]))
"""
    words = ["align", *pairs.vit, "--method", "weight", "-o", "out", "--format", "json"]
    done = run(code, *words)
    assert done.stdout.splitlines()[-1] == "[0, 2]", done.stderr
    assert "out: is not empty" in done.stderr and "Traceback" not in done.stderr
    assert check(str(work / "out")).ok
    names = [name for name in listing(work) if "/" not in name and not name.startswith("here.")]
    assert names == ["out"]


def test_two_that_overwrite_one_directory(tmp_path: Path) -> None:
    """The last one wins, whole, however they meet."""
    target = tmp_path / "out"
    write_model(target, {"x": torch.zeros(4)})
    barrier = threading.Barrier(2)
    ends: list[BaseException | None] = []

    def write(value: float) -> None:
        try:
            for _ in range(20):
                barrier.wait()
                write_model(target, {"x": torch.full((4,), value)}, overwrite=True)
            ends.append(None)
        except BaseException as error:  # told to the main thread
            barrier.abort()
            ends.append(error)

    threads = [threading.Thread(target=write, args=(float(i + 1),)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [None, None]
    found = open_checkpoint(target / "model.safetensors")["x"]
    assert found.tolist() in ([1.0] * 4, [2.0] * 4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="is not empty"),
        new_directory(tmp_path / "out", needed=1) as directory,
    ):
        (directory / "mine").write_bytes(b"x")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_bytes(b"y")
    assert listing(tmp_path) == ["out", "out/theirs"]
