"""A hub, and clients in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi

import zooalign
from zooalign.testing import LoopbackHub
from zooalign.testing.fixtures import loopback_hub  # noqa: F401

Run = Callable[..., str]


@pytest.fixture
def hub(loopback_hub: LoopbackHub) -> LoopbackHub:  # noqa: F811 (that is how fixtures are used)
    return loopback_hub


@pytest.fixture
def api(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client in this process, by LFS; Xet is tried in processes of their own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def run_client(tmp_path: Path) -> Run:
    """Run Python source in a process that knows the hub from its environment only."""

    def run(code: str, env: dict[str, str]) -> str:
        root = str(Path(zooalign.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | env | {"PYTHONPATH": root},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
