"""The shape of the code: which package imports which."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent


def test_imports_point_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The contract stands in pyproject.toml; the message says which import breaks it."""
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out
