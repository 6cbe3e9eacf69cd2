"""placeholder"""

from pathlib import Path
from typing import Any


def write_report(rows: Any, output: Any, source: str = "") -> list[Path]:
    raise NotImplementedError
