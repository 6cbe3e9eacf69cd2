"""``docs/faults.md`` and the tests say the same."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"\| `(tests/[^`]+)::(\w+)` \|$", (ROOT / "docs/faults.md").read_text(), re.M)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
    }


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 40
    for file, name in ROWS:
        assert name in functions(ROOT / file), f"{file}::{name}"


def test_every_test_of_a_fault_has_a_row() -> None:
    named = {name for _, name in ROWS}
    for path in (ROOT / "tests/faults").glob("test_*.py"):
        if path.name != Path(__file__).name:
            assert functions(path) <= named, (path.name, functions(path) - named)


def test_no_row_comes_twice() -> None:
    assert len(ROWS) == len(set(ROWS))
