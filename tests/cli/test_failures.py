"""Everything that can go wrong: exit code 2, a message that says what, nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_calls import RUN, Call, listing
from forked import fork, forked
from released_pairs import Pairs, rewrite

from zooalign.cli import COMMANDS, main
from zooalign.testing import LoopbackHub

pytestmark = pytest.mark.slow


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where outputs would appear."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def broken(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("broken")
    truncated = Path(shutil.copytree(pairs.vit[1], folder / "truncated"))
    path = truncated / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    nan = rewrite(
        pairs.vit[1], folder / "nan", lambda s: {**s, "norm.bias": s["norm.bias"] + float("nan")}
    )
    (folder / "empty").mkdir()
    return {"truncated": str(truncated), "nan": nan, "empty": str(folder / "empty")}


def commands(a: str, b: str, data: str, out: Path) -> list[list[str]]:
    """Every command that reads two models, with its outputs."""
    return [
        ["align", a, b, "-o", str(out / "o"), "--method", "weight", "--data", data],
        ["merge", a, b, "-o", str(out / "o"), "--method", "weight", "--data", data],
        ["barrier", a, b, "--data", data, "--plot", str(out / "plot.svg")],
    ]


def refused(call: Call, arguments: list[str], work: Path, *words: str) -> None:
    done = call(*arguments, "--format", "json")
    assert done.code == 2, done.out
    error = done.json["error"]
    assert set(done.json) == {"error"} and set(error) == {"type", "message", "hint"}
    assert all(word in error["message"] for word in words), error
    assert f"error: {error['message']}" in done.err and "Traceback" not in done.err
    assert listing(work) == []


def test_a_truncated_file(call: Call, pairs: Pairs, broken: dict[str, str], work: Path) -> None:
    bad = broken["truncated"]
    for arguments in commands(pairs.vit[0], bad, pairs.data, work):
        refused(call, arguments, work, "model.safetensors", "truncated")
    refused(call, ["spec", bad, "-o", str(work / "s.json")], work, "truncated")
    assert call("check", bad).code == 1  # the gate could run, and found it


def test_a_nan(call: Call, pairs: Pairs, broken: dict[str, str], work: Path) -> None:
    for arguments in commands(pairs.vit[0], broken["nan"], pairs.data, work):
        refused(call, arguments, work, "'norm.bias'", "NaN")


def test_mismatched_architectures(call: Call, pairs: Pairs, work: Path) -> None:
    for arguments in commands(pairs.vit[0], pairs.resnet[0], pairs.data, work):
        refused(call, arguments, work, "not of one architecture", "test_vit", "test_resnet")


def test_an_empty_data_folder(call: Call, pairs: Pairs, broken: dict[str, str], work: Path) -> None:
    for arguments in commands(*pairs.vit, broken["empty"], work):
        refused(call, arguments, work, broken["empty"], "holds no images")


def test_missing_repos_and_data(
    call: Call, pairs: Pairs, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackHub(xet=False) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for arguments in commands(pairs.vit[0], "tester/none", pairs.data, work):
            refused(call, arguments, work, "tester/none", "no such repo")
        for command in ("spec", "verify", "check"):
            refused(call, [command, "tester/none"], work, "no such repo")
    refused(call, ["spec", "./none"], work, "no such directory")
    refused(call, commands(*pairs.vit, "none.npz", work)[2], work, "none.npz")
    refused(call, ["align", *pairs.vit, "-o", str(work / "o")], work, "--method weight")
    refused(call, ["publish", str(work), "--to", "a/b"], work, "holds no files")


def test_usage(call: Call, work: Path) -> None:
    refused(call, ["align", "timm:test_vit"], work, "Missing argument")
    refused(call, ["spce", "a"], work, "spce")
    refused(call, ["verify", "timm:test_vit", "--seed", "x"], work, "--seed")
    assert call("align", "timm:test_vit").out == ""


def test_without_arguments_the_help_is_shown(call: Call) -> None:
    done = call()
    assert done.code == 0 and done.err == ""
    assert all(name in done.out for name in COMMANDS)


def test_an_unexpected_error_is_short(
    call: Call, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("something\nlong")

    monkeypatch.setattr("zooalign.gate.plugin_states.plugin_states", fail)
    refused(call, ["plugins"], work, "unexpected RuntimeError: something")
    assert "ZOOALIGN_DEBUG=1" in call("plugins").err
    monkeypatch.setenv("ZOOALIGN_DEBUG", "1")
    assert "Traceback" in call("plugins").err


def test_a_full_disk(pairs: Pairs, work: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
    align, merge, _ = commands(*pairs.vit, pairs.data, work)
    for arguments in (align, merge):
        done = forked(limit + RUN, *arguments, cwd=work)
        assert done.returncode == 2 and "the disk is full" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and listing(work) == []


@pytest.mark.parametrize("form", ["human", "json"])
def test_what_reads_the_output_has_gone(form: str, work: Path) -> None:
    closed = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
    done = forked(closed + RUN, "plugins", "--format", form, cwd=work)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_an_output_that_takes_nothing_is_no_bug(work: Path) -> None:
    full = "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); "
    done = forked(full + RUN, "plugins", cwd=work)
    assert done.returncode == 2 and "the standard output cannot be written to" in done.stderr
    assert "bug" not in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_in_the_middle_of_writing(pairs: Pairs, work: Path) -> None:
    slow = """
import time, zooalign.zoo.writer as writer
real = writer._bytes_of
def slowly(tensor):
    print("writing", flush=True)
    time.sleep(0.2)
    return real(tensor)
writer._bytes_of = slowly
"""
    arguments = commands(*pairs.vit, pairs.data, work)[0]
    child = fork(slow + RUN, *arguments, cwd=work)
    deadline = time.monotonic() + 300
    while not child.stdout.startswith("writing\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    assert any(name.endswith(".partial/model.safetensors") for name in listing(work))
    os.kill(child.pid, signal.SIGINT)
    done = child.wait()
    assert done.returncode == 2 and "interrupted; nothing half-written" in done.stderr
    assert "Traceback" not in done.stderr and listing(work) == []


def test_the_process_itself(pairs: Pairs, work: Path) -> None:
    """Progress is quiet where stderr is no terminal; JSON is alone on stdout; torch comes late."""
    code = "import sys; from zooalign.cli import main; main(['--help'], standalone_mode=False);"
    code += "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    helped = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True)
    assert helped.returncode == 0 and all(name in helped.stdout for name in COMMANDS)
    module = "import runpy; runpy.run_module('zooalign', run_name='__main__')"
    done = forked(module, "verify", pairs.vit[0], "--format", "json", cwd=work)
    assert done.returncode == 0 and done.stderr == "" and json.loads(done.stdout)["ok"]


def test_versions_and_help(call: Call) -> None:
    assert call("--version").out.startswith("zooalign ")
    for name in COMMANDS:
        done = call(name, "--help")
        assert done.code == 0 and "--format" in done.out
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert os.environ.get("ZOOALIGN_DEBUG") is None
