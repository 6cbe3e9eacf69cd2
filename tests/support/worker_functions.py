"""Functions for worker processes, which import them by name."""

import os
import signal
import time


def behave(task: object) -> object:
    """Do what the task says."""
    match task:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "raise":
            raise ValueError("no such thing\nand more")
        case "hang":
            time.sleep(600)
        case "eat":
            kept = [bytearray(50_000_000) for _ in range(40)]
            time.sleep(600)
            return len(kept)
        case "print":
            print("on stdout")
            return "printed"
        case "who":
            return os.getpid()
    return task
