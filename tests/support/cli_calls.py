"""Calling the command line in this process and in others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zooalign
from zooalign.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout as one JSON document."""
        return json.loads(self.out)


Call = Callable[..., Done]


def in_process(capsys: Any) -> Call:
    """A function that runs a command here."""

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(list(arguments), standalone_mode=False)
        assert isinstance(code, int)
        found = capsys.readouterr()
        return Done(code, found.out, found.err)

    return call


def start(code: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start Python source that ends in the command line, in a process of its own."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(zooalign.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: subprocess.Popen[str]) -> Done:
    """Wait for it."""
    out, err = child.communicate(timeout=120)
    return Done(child.returncode, out, err)


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden names too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
