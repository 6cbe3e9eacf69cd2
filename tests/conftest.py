"""Shared fixtures: the folder of real data, one thread for torch."""

import os
import signal
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test
# starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several workers share the cores; sums in one order make failures repeatable."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real checkpoints and data, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("ZOOALIGN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set ZOOALIGN_DATA")
    return folder
