"""What memory a process takes, as far as the system tells (Linux does)."""

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

__all__ = ["fresh_peak", "give_back", "peak", "resident"]


def give_back() -> None:
    """Return to the system what is not used any more."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def fresh_peak() -> None:
    """Give back what is not used and start counting the peak again."""
    give_back()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak() -> int | None:
    """The most memory this process had at a time since :func:`fresh_peak`, in bytes."""
    return _status("self", "VmHWM")


def resident(pid: int | str = "self") -> int | None:
    """The memory a process has now, in bytes; None if it is not known."""
    return _status(str(pid), "VmRSS")


def _status(pid: str, field: str) -> int | None:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
