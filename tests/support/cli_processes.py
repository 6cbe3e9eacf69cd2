"""The command line in a process of its own, after some Python source."""

import os
import subprocess
import sys
from pathlib import Path

import zooalign

RUN = "import sys; from zooalign.cli import main; main(sys.argv[1:])"


def start_command(
    code: str, *words: str, cwd: Path, env: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start it."""
    root = str(Path(zooalign.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_command(
    code: str, *words: str, cwd: Path, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    child = start_command(code, *words, cwd=cwd, env=env)
    out, err = child.communicate(timeout=180)
    return subprocess.CompletedProcess([], child.returncode, out, err)
