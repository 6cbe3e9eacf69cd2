"""A loopback hub that the hub client of this process talks to, by LFS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from zooalign.testing import LoopbackHub

__all__ = ["served_hub"]


@contextmanager
def served_hub(
    monkeypatch: pytest.MonkeyPatch, cache: Path, **options: Any
) -> Iterator[LoopbackHub]:
    """Serve a hub; the client's endpoint, token and ``cache`` are its own until the test ends.

    The client reads its settings when it is imported, so they are set on its module as well.
    """
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    with LoopbackHub(**{"xet": False} | options) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub
