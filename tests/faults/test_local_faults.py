"""Full disks, read-only targets, too little memory, two runs at a time: real ones, in processes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from cli_processes import RUN, run_command
from released_pairs import Pairs

from zooalign.errors import CheckpointError
from zooalign.release.check import check
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.files import new_directory
from zooalign.zoo.writer import write_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resource limits, users")


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


MAIN = "import sys; from zooalign.cli import main; "


def mounted(options: str, code: str, *words: str, at: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python source in ``at``, where a file system of its own is mounted; skip if it cannot."""
    script = f"mount -t tmpfs -o {options} none '{at}' || exit 99; cd '{at}'; exec \"$@\""
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()[:80]}")
    return done


def test_a_full_disk_for_a_single_file(work: Path, pairs: Pairs) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
    done = run_command(limit + RUN, "spec", pairs.vit[0], "-o", "s.json", cwd=work)
    assert done.returncode == 2 and "the disk is full" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and listing(work) == []


def test_a_disk_that_is_really_full(work: Path, pairs: Pairs) -> None:
    code = MAIN + "code = main(sys.argv[1:], standalone_mode=False); import os; "
    code += "print(os.listdir()); sys.exit(code)"
    words = ["align", *pairs.vit, "--method", "weight", "-o", "out"]
    done = mounted("size=64k", code, *words, at=work)
    assert done.returncode == 2 and "the disk is full" in done.stderr, done.stderr
    assert "bytes are needed" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "[]\n"


def test_a_read_only_target(work: Path, pairs: Pairs) -> None:
    code = MAIN + "a, b, t = sys.argv[1:]; "
    code += (
        "one = main(['align', a, b, '--method', 'weight', '-o', 'out'], standalone_mode=False); "
    )
    code += (
        "two = main(['spec', a, '-o', 's.json'], standalone_mode=False); sys.exit(one * 10 + two)"
    )
    done = mounted("ro", code, *pairs.vit, "", at=work)
    assert done.returncode == 22, done.stderr
    assert done.stderr.count("cannot be written: Read-only file system") == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_too_little_memory_for_one_tensor(work: Path) -> None:
    """The model opens from its header; one tensor does not fit in the memory that is allowed."""
    size = 2**28  # 1 GiB of float32, sparse on disk
    make = (
        "import torch; from zooalign.zoo.headers import TensorInfo, make_header; "
        f"head, h = make_header({{'weight': TensorInfo((16384, {size // 16384}), torch.float32),"
        " 'bias': TensorInfo((16384,), torch.float32)}, {}); "
        "f = open('w.safetensors', 'wb'); f.write(head); f.truncate(len(head) + 4 * "
        f"({size} + 16384))"
    )
    subprocess.run([sys.executable, "-c", make], cwd=work, check=True)
    before = listing(work)
    architecture = (
        f"py:torch.nn:Linear?in_features={size // 16384}&out_features=16384&input={size // 16384}"
    )
    code = "import torch, timm, zooalign.release.align; "
    code += "import resource; used = int(open('/proc/self/statm').read().split()[0]) * 4096; "
    code += "resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2); " + RUN
    words = ["align", "w.safetensors", "w.safetensors", "--model", architecture]
    done = run_command(code, *words, "--method", "weight", "-o", "out", cwd=work)
    assert done.returncode == 2 and "out of memory; nothing half-written" in done.stderr, (
        done.stderr
    )
    assert "bug" not in done.stderr and listing(work) == before


def test_two_runs_into_one_directory(work: Path, pairs: Pairs) -> None:
    """Both begin before either has written; one is first, and the other says so."""
    code = """
import os, sys
from zooalign.cli import main
import zooalign.release.align as align
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
    done = run_command(code, *words, cwd=work)
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
