"""Python source in processes that are forked from one that has imported everything.

Starting a process costs five seconds of importing torch and timm; a fork costs none. Run as a
program, it reads requests, a line of JSON each, and answers each with an exit code.
"""

import json
import os
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["forked"]


@cache
def _server() -> "subprocess.Popen[str]":
    """One for each process that runs tests; it ends with it, as its input does."""
    import zooalign

    root = str(Path(zooalign.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def forked(code: str, *words: str, cwd: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python source with ``sys.argv[1:] = words`` in ``cwd``, in a process of its own.

    ``out`` is a folder for what it prints; it must not be ``cwd``.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    paths = [str(out / name) for name in ("stdout", "stderr")]
    server.stdin.write(json.dumps([code, words, str(cwd), *paths]) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the server has ended"
    return subprocess.CompletedProcess([], int(answer), *(Path(path).read_text() for path in paths))


def _child(code: str, words: list[str], cwd: str, out: str, err: str) -> None:
    """Run the source and exit; nothing is returned to."""
    status: Any = 1
    try:
        for descriptor, path in ((1, out), (2, err)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        sys.argv = ["-c", *words]
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


def _serve() -> None:
    import timm  # noqa: F401
    import torch

    import zooalign.cli.align
    import zooalign.gate.check
    import zooalign.pipelines.align
    import zooalign.pipelines.merge  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
