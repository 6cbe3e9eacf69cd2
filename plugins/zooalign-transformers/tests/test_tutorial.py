"""The tutorial of the documentation that needs this plugin runs as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "tutorials" / "two_transformers.py"


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="the documentation is not part of this copy")
def test_two_transformers(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "activation" in done.stdout
