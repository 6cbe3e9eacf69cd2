"""What docs/cli.md says a command's JSON holds."""

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def documented(command: str) -> set[str]:
    """The JSON fields that docs/cli.md lists for a command."""
    text = DOCS.read_text()
    section = text.partition(f"\n## `zooalign {command}")[2].partition("\n## ")[0]
    table = section.partition("| field | |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name.strip("` ") for row in rows for name in row.split(",")}
