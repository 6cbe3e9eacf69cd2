"""The one module that a plugin's author imports from."""

import ast
import re
from pathlib import Path

import pytest

from zooalign import plugins

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    table = page.partition("## What `zooalign.plugins` has\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_it_has_exactly_what_is_documented() -> None:
    assert len(documented()) == len(set(documented())) > 40
    assert sorted(documented()) == sorted(plugins.__all__)
    assert all(getattr(plugins, name) is not None for name in plugins.__all__)


@pytest.mark.parametrize(
    ("folder", "besides"),
    [
        ("zooalign-example-check/zooalign_example_check", set()),
        # Its callback is a user of the Python API.
        ("zooalign-transformers/zooalign_transformers", {"zooalign"}),
        ("zooalign-diffusers/zooalign_diffusers", set()),
    ],
)
def test_our_plugins_import_nothing_else(folder: str, besides: set[str]) -> None:
    files = sorted((ROOT / "plugins" / folder).rglob("*.py"))
    assert files
    imported: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    ours = {name for name in imported if name.split(".")[0] == "zooalign"}
    assert ours == {"zooalign.plugins"} | besides


def test_nothing_inside_imports_it() -> None:
    pattern = re.compile(r"^\s*(from zooalign\.plugins |from zooalign import .*\bplugins\b)", re.M)
    files = (ROOT / "zooalign").rglob("*.py")
    assert [file.name for file in files if pattern.search(file.read_text(encoding="utf-8"))] == []
