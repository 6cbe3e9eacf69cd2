"""The walk-through of docs/checks.md, run as it stands against a loopback hub."""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_calls import Call
from served_hub import served_hub

from zooalign.testing import LoopbackHub

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


def test_the_walk_through(
    hub: LoopbackHub, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    section = PAGE.read_text().partition("\n## A walk-through\n")[2].partition("\n## ")[0]
    ran, last = [], None
    tampered = False
    for language, body in BLOCK.findall(section):
        if language == "python":
            name = body.splitlines()[0].removeprefix("# ")
            (work / name).write_text(body)
        elif language == "text":
            assert last is not None and last.code == 1
            for line in body.splitlines():
                assert line in last.out, (line, last.out)
        for line in body.splitlines() if language == "sh" else ():
            program, *arguments = shlex.split(line)
            ran.append(arguments[0])
            if program == "python":
                monkeypatch.setattr(sys, "argv", arguments)
                runpy.run_path(arguments[0], run_name="__main__")
                tampered |= arguments[0] == "tamper.py"
                continue
            last = call(*arguments)
            expected = 1 if tampered and arguments[0] == "check" else 0
            assert last.code == expected, (line, last.out, last.err)
    assert ran == [
        *("train.py", "align", "check", "merge", "check", "reproduce", "publish", "check"),
        *("tamper.py", "check", "reproduce"),
    ]
    assert last is not None and "the same bytes" in last.out
    assert not any(path.name.startswith(".") for path in work.iterdir())
