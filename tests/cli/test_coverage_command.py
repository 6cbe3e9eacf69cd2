"""``zooalign coverage``: the documented fields, exit codes, the page, an interruption."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from cli_calls import RUN, Call
from documented_fields import DOCS, documented
from forked import fork

pytestmark = pytest.mark.slow


def lines_documented() -> set[str]:
    """The fields of a line of the file: the second table of the section."""
    section = DOCS.read_text().partition("\n## `zooalign coverage")[2].partition("\n## ")[0]
    table = section.partition("| field of a line | |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name.strip("` ") for row in rows for name in row.split(",")}


def test_fields(call: Call, tmp_path: Path) -> None:
    out, page = str(tmp_path / "sweep.jsonl"), str(tmp_path / "sweep.md")
    done = call("coverage", "--filter", "test_resnet", "-o", out, "--format", "json")
    assert done.code == 0, done.err
    assert set(done.json) == documented("coverage")
    assert done.json["proved"] == done.json["converse"] == 1 and done.json["findings"] == []
    (line,) = Path(out).read_text().splitlines()
    assert set(json.loads(line)) == lines_documented()
    shown = call("coverage", "--report", out, "-o", page)
    assert shown.code == 0 and f"written: {page}" in shown.out
    assert "`test_resnet`" in Path(page).read_text()


def test_exit_codes(call: Call, tmp_path: Path) -> None:
    out = str(tmp_path / "sweep.jsonl")
    broken = call("coverage", "--filter", "test_resnet", "--set", "no_such=1", "-o", out)
    assert broken.code == 1 and "no_such" in broken.out
    assert call("coverage", "--filter", "no_such", "-o", out).code == 2
    assert call("coverage", "--set", "x", "-o", out).code == 2
    assert call("coverage", "--report", str(tmp_path / "none"), "-o", "x.md").code == 2


def test_an_interruption_leaves_whole_lines(tmp_path: Path) -> None:
    arguments = ["coverage", "--filter", "test_*", "--verify", "none", "-o", "sweep.jsonl"]
    child = fork(RUN, *arguments, cwd=tmp_path)
    path = tmp_path / "sweep.jsonl"
    deadline = time.monotonic() + 300
    while not (path.exists() and path.read_text().count("\n") >= 1):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGINT)
    done = child.wait()
    assert done.returncode == 2 and "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text().endswith("\n")
    assert all(json.loads(line)["error"] is None for line in path.read_text().splitlines())
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.jsonl"]
