"""Workers find the functions of these tests."""

import os
from pathlib import Path

import pytest
import worker_functions


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    support = str(Path(worker_functions.__file__).parent)
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{support}{os.pathsep}{path}" if path else support)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
