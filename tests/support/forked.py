"""Python source in processes that are forked from one that has imported everything.

Starting a process costs five seconds of importing torch and timm; a fork costs none. Run as a
program, it imports the modules it is given and reads requests, a line of JSON each: it answers
each with the id of the process, and with its exit code when it has ended.
"""

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zooalign

__all__ = ["COMMANDS", "LIBRARIES", "Forked", "fork", "forked"]

#: What commands need: those that are to be interrupted or to fail start with it.
COMMANDS = (
    *("torch", "timm", "zooalign.cli.align", "zooalign.gate.check"),
    *("zooalign.pipelines.align", "zooalign.pipelines.merge"),
)
#: Without zooalign, and without what reads the environment as it is imported (huggingface_hub).
LIBRARIES = ("torch", "torch._dynamo", "torchvision")

_ENVIRONMENT = {"PYTHONPATH": str(Path(zooalign.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


@cache
def _server(imports: tuple[str, ...]) -> "subprocess.Popen[str]":
    """One for each process that runs tests; it ends with it, as its input does."""
    return subprocess.Popen(
        [sys.executable, __file__, *imports],
        env=os.environ | _ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Forked:
    """A process that runs; another is started by the same server when it has ended."""

    pid: int
    _server: "subprocess.Popen[str]"
    _folder: "TemporaryDirectory[str]"

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (Path(self._folder.name) / "stdout").read_text()

    def wait(self) -> "subprocess.CompletedProcess[str]":
        """Its exit code and what it printed, when it has ended."""
        code = int(_answer(self._server))
        with self._folder as folder:
            printed = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([], code, *printed)


def fork(
    code: str,
    *words: str,
    cwd: Path,
    env: dict[str, str] | None = None,
    imports: tuple[str, ...] = COMMANDS,
) -> Forked:
    """Start Python source with ``sys.argv[1:] = words`` in ``cwd``, in a process of its own.

    Its environment is that of this process, with ``env``, set after the imports.
    """
    server, folder = _server(imports), TemporaryDirectory()
    assert server.stdin is not None
    for name in ("stdout", "stderr"):
        (Path(folder.name) / name).touch()
    environment = {**os.environ, **_ENVIRONMENT, **(env or {})}
    server.stdin.write(json.dumps([code, words, str(cwd), folder.name, environment]) + "\n")
    server.stdin.flush()
    return Forked(int(_answer(server)), server, folder)


def forked(code: str, *words: str, cwd: Path, **how: Any) -> "subprocess.CompletedProcess[str]":
    """As :func:`fork`, run to its end."""
    return fork(code, *words, cwd=cwd, **how).wait()


def _answer(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    answer = server.stdout.readline()
    assert answer, "the server has ended"
    return answer


def _child(code: str, words: list[str], cwd: str, folder: str, env: dict[str, str]) -> None:
    """Run the source and exit; nothing is returned to."""
    status: Any = 1
    try:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(Path(folder) / name, os.O_WRONLY)
            os.dup2(file, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        sys.argv = ["-c", *words]
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        status = 0
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve(imports: list[str]) -> None:
    for name in imports:
        import_module(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(*json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
