"""The example in docs/testing.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import zooalign

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.mark.skipif(not DOCS.is_file(), reason="the documentation is not part of this copy")
def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", DOCS.read_text(), re.DOTALL))
    assert set(blocks) == {"conftest.py", "test_publish.py"}
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(Path(zooalign.__file__).parents[1]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
