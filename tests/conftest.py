"""Shared fixtures: the folder of real data, pairs of models, one thread for torch."""

import os
import signal
from pathlib import Path

import pytest
import torch
from installed_plugins import install_plugin, no_installed_plugins  # noqa: F401
from released_pairs import Pairs, make_pairs

ROOT = Path(__file__).parent.parent

# Plugins that happen to be installed here change nothing; tests of plugins say which they want.
os.environ.setdefault("ZOOALIGN_PLUGINS", "")

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


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Pairs of models in folders, made once a session."""
    return make_pairs(tmp_path_factory.mktemp("pairs"))
