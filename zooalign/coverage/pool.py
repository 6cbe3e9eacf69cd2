"""Worker processes in which one task may fail, crash, hang or eat memory without the others.

``concurrent.futures`` gives up all tasks when one process dies; here the death of a process is
the result of its task.
"""

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, set_forkserver_preload
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from zooalign.coverage import memory
from zooalign.text import first_line

__all__ = ["Failure", "Limits", "run_all"]

# A worker is forked from a process that has imported everything, which takes seconds, and has done
# nothing else. Elsewhere than on Linux, a fork of such a process is not safe.
if sys.platform == "linux":
    _CONTEXT = get_context("forkserver")
else:
    _CONTEXT = get_context("spawn")
_LOOK = 0.5  # seconds between looks at time and memory


@dataclass(frozen=True)
class Limits:
    """Of one task: seconds and bytes. A worker that keeps over ``recycle`` bytes is replaced."""

    seconds: float = 900.0
    memory: int | None = None
    recycle: int = 1_500_000_000


@dataclass(frozen=True)
class Failure:
    """A task that gave no result: the type of error and one line about it."""

    type: str
    message: str


@dataclass
class _Worker:
    process: BaseProcess
    pipe: connection.Connection
    task: Any = None
    start: float = 0.0


def run_all(
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    jobs: int,
    limits: Limits = Limits(),
    imports: Sequence[str] = (),
) -> Iterator[tuple[Any, Any]]:
    """Run ``function`` on every task in ``jobs`` processes.

    Parameters
    ----------
    function:
        Of a module, which the workers import.
    tasks:
        Values that can be pickled.
    imports:
        Modules that the tasks need besides: imported once, where workers can be forked.

    Yields
    ------
    (task, result) as they end; the result is a :class:`Failure` where there is none.
    """
    if _CONTEXT.get_start_method() == "forkserver":
        set_forkserver_preload([function.__module__, *imports])
    waiting = deque(tasks)
    workers: list[_Worker] = []
    try:
        while waiting or any(w.task is not None for w in workers):
            while waiting and len(workers) < jobs:
                workers.append(_start(function, max(1, (os.cpu_count() or 1) // jobs)))
            for worker in workers:
                if worker.task is None and waiting:
                    _give(worker, waiting.popleft())
            busy = [w for w in workers if w.task is not None]
            ready = connection.wait([w.pipe for w in busy], timeout=_LOOK)
            for worker in busy:
                if worker.pipe in ready:
                    task, result, keeps = _take(worker)
                    if isinstance(result, Failure) or keeps > limits.recycle:
                        _stop(worker)
                        workers.remove(worker)
                    yield task, result
                elif (over := _over(worker, limits)) is not None:
                    task = worker.task
                    _stop(worker)
                    workers.remove(worker)
                    yield task, over
    finally:
        for worker in workers:
            _stop(worker)


def _start(function: Callable[[Any], Any], threads: int) -> _Worker:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(
        target=_work, args=(function, theirs, threads, dict(os.environ)), daemon=True
    )
    # Workers inherit that SIGINT is ignored: the parent handles an interruption.
    with _ignore_sigint():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextlib.contextmanager
def _ignore_sigint() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _give(worker: _Worker, task: Any) -> None:
    worker.task, worker.start = task, time.monotonic()
    with contextlib.suppress(BrokenPipeError):  # its end is seen when it is waited for
        worker.pipe.send(task)


def _take(worker: _Worker) -> tuple[Any, Any, int]:
    task, worker.task = worker.task, None
    try:
        result, keeps = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(timeout=10)
        return task, _death(worker.process.exitcode), 0
    return task, result, keeps


def _death(code: int | None) -> Failure:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (killed by the system: out of memory?)" if name == "SIGKILL" else ""
        return Failure("WorkerDied", f"the process was ended by {name}{hint}")
    return Failure("WorkerDied", f"the process ended with exit code {code}")


def _over(worker: _Worker, limits: Limits) -> Failure | None:
    seconds = time.monotonic() - worker.start
    if seconds > limits.seconds:
        return Failure("Timeout", f"no result within {limits.seconds:g} seconds")
    if limits.memory is not None and worker.process.pid is not None:
        taken = memory.resident(worker.process.pid)
        if taken is not None and taken > limits.memory:
            allowed = f"{limits.memory / 1e9:.2f} GB"
            return Failure("MemoryLimit", f"it took {taken / 1e9:.2f} GB, more than {allowed}")
    return None


def _stop(worker: _Worker) -> None:
    worker.pipe.close()  # an idle worker ends by itself
    if worker.task is None:
        worker.process.join(timeout=2)
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()


def _follow() -> None:
    """End with the parent, also where that was killed in the middle of a task."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(
    function: Callable[[Any], Any],
    pipe: connection.Connection,
    threads: int,
    environment: Mapping[str, str],
) -> None:
    """The life of a worker. What libraries print goes nowhere: stdout is the command's."""
    Thread(target=_follow, daemon=True).start()
    # Those of the process it was forked from are of an earlier time.
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    if torch := sys.modules.get("torch"):  # imported by now if the function needs it
        torch.set_num_threads(threads)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            result = function(task)
        except Exception as error:
            result = Failure(type(error).__name__, first_line(error))
        memory.give_back()
        try:
            pipe.send((result, memory.resident() or 0))
        except OSError:
            return
