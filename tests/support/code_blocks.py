"""Every code block of the documentation, and what becomes of it.

``python tests/support/code_blocks.py`` lists them. Python blocks are run by a test, or marked by a
line ``<!-- not run: why -->`` in front. Of shell blocks the options of every ``zooalign`` command
are looked up; data (TOML, YAML) is parsed.
"""

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The test that runs the Python blocks of a page, but for those that are marked.
RUN_BY = {
    "README.md": "tests/test_documentation.py",
    "docs/checks.md": "tests/cli/test_check_walkthrough.py",
    "docs/extraction.md": "tests/test_documentation.py",
    "docs/losses.md": "tests/test_documentation.py",
    "docs/plugins.md": "tests/test_documentation.py",
    "docs/python.md": "tests/test_documentation.py",
    "docs/spec.md": "tests/symmetry/test_reader.py",
    "docs/testing.md": "tests/testing/test_docs.py",
}
DATA = ("toml", "yaml", "json")
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.*?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page (relative to the root), language, text, and why it is not run."""

    page: str
    language: str
    code: str
    not_run: str | None

    @property
    def fate(self) -> str:
        """What becomes of it."""
        if self.not_run:
            return f"marked: {self.not_run}"
        if self.language == "python":
            return (
                f"run by {RUN_BY[self.page]}" if self.page in RUN_BY else "NEITHER RUN NOR MARKED"
            )
        if self.language in DATA:
            return "parsed"
        if self.language == "sh":
            return "options looked up" if self.commands() else "shell without zooalign"
        return "no code"

    def commands(self) -> list[list[str]]:
        """The words of every ``zooalign`` command of a shell block."""
        lines = self.code.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [w[1:] for w in words if w and Path(w[0]).name == "zooalign"]


def pages() -> list[Path]:
    """README, docs and the plugins' pages."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "plugins").glob("*/README.md")),
    ]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    name = page.relative_to(ROOT).as_posix()
    text = page.read_text(encoding="utf-8")
    return [Block(name, m["language"], m["code"], m["why"]) for m in _BLOCK.finditer(text)]


if __name__ == "__main__":
    counted = Counter(
        (block.page, block.language, block.fate) for page in pages() for block in blocks_of(page)
    )
    for (name, language, fate), count in counted.items():
        print(f"{name}: {count} {language}: {fate}")
