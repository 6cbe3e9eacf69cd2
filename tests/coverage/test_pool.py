"""Worker processes: one task's end is never another's."""

import os
import signal
import subprocess
import sys
import time

import pytest
from worker_functions import behave

from zooalign.coverage.pool import Failure, Limits, run_all


def test_every_way_to_end_is_one_result() -> None:
    tasks = ["crash", "a", "exit", "raise", "print", "b"]
    found = dict(run_all(behave, tasks, jobs=2))
    assert found["a"] == "a" and found["b"] == "b" and found["print"] == "printed"
    assert found["raise"] == Failure("ValueError", "no such thing")
    assert found["exit"] == Failure("WorkerDied", "the process ended with exit code 7")
    assert found["crash"].type == "WorkerDied" and "SIGSEGV" in found["crash"].message
    assert found.keys() == set(tasks)


@pytest.mark.slow
def test_limits_of_time_and_memory() -> None:
    limits = Limits(seconds=120.0, memory=1_500_000_000)
    assert dict(run_all(behave, ["eat", "a"], 1, limits))["a"] == "a"
    found = dict(run_all(behave, ["eat"], 1, limits))["eat"]
    assert found.type == "MemoryLimit" and "1.50 GB" in found.message
    slow = dict(run_all(behave, ["hang"], 1, Limits(seconds=0.1)))["hang"]
    assert slow == Failure("Timeout", "no result within 0.1 seconds")


@pytest.mark.parametrize(("recycle", "processes"), [(10**12, 1), (0, 3)])
def test_a_worker_that_keeps_memory_is_replaced(recycle: int, processes: int) -> None:
    tasks = ["who", "who", "who"]
    found = [result for _, result in run_all(behave, tasks, 1, Limits(recycle=recycle))]
    assert len(set(found)) == processes


def test_leaving_early_ends_the_workers() -> None:
    running = run_all(behave, ["who", "hang", "hang"], jobs=2)
    _, process = next(running)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = (
        "from worker_functions import behave\n"
        "from zooalign.coverage.pool import run_all\n"
        "for _, result in run_all(behave, ['who', 'hang'], 1): print(result, flush=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(worker, 0)
            time.sleep(0.1)
