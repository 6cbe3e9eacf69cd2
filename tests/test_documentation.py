"""The documentation: examples run, links lead somewhere, commands exist."""

import re
from pathlib import Path

import pytest

from zooalign.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    targets = [a or b for a, b in LINK.findall(page.read_text())]
    local = [t for t in targets if not t.startswith(("http:", "https:"))]
    assert [t for t in local if not (page.parent / t).exists()] == []


@pytest.mark.slow
def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "python.md"
    code = blocks(page, "python")
    assert len(code) > 8
    namespace: dict[str, object] = {}
    for number, block in enumerate(code):
        exec(compile(block, f"python.md, block {number}", "exec"), namespace)
    shown = capsys.readouterr().out
    assert "2 groups" in shown
    assert "example_inputs" in shown


@pytest.mark.slow
def test_readme_example_runs() -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    setup = blocks(ROOT / "docs" / "python.md", "python")[0]
    namespace: dict[str, object] = {}
    exec(setup + "\nmodel, other = a, b\n" + code, namespace)


def test_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert [name for name in sorted(pages) if f"({name})" not in index] == []


def test_commands_are_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"## `zooalign {name}" not in text] == []
