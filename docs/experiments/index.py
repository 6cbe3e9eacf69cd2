"""The list of all experiments, ``README.md`` beside this file, from the pages that are there.

python docs/experiments/index.py
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
# In the order of the questions; others come after these.
ORDER = (
    "recovery", "mlp_pair", "rebasin_pairs", "width", "choosing", "trajectory", "composition",
    "pruning", "depth", "rebasin_three", "real_pairs", "many_models",
)  # fmt: skip
HOLDS, FAILS = "- Holds: ", "- **Does not hold**: "
INTRODUCTION = """# Experiments

Each page is made by the script of its name, and all by one command:

    ZOOALIGN_DATA=FOLDER python docs/experiments/run_all.py

In short: alignment takes all or nearly all of the barrier between wide, shallow networks, a large
part of it between narrow or deep ones, and between transformers part of it. With running statistics
reset or the weights refitted, more of it goes. A merge is better than its parents where these know
different things, and seldom otherwise. [When alignment helps](../when.md) has the numbers in one
table.

A page's conclusions are computed from its numbers: a claim holds, or it does not, and the numbers
stand behind it. Below, the claims of each page, first those that do not hold. Claims are strict:
most compare with a published figure for wider networks, or ask for something in every single pair.
Networks are small and trainings short: minutes on two cores.
"""


def section(page: Path) -> str:
    """A heading that links to the page, and its conclusions."""
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    title = lines[0].removeprefix("# ")
    claims = [x for x in lines if x.startswith((FAILS, HOLDS))]
    found = [x for x in claims if x.startswith(FAILS)] + [x for x in claims if x.startswith(HOLDS)]
    if not found:
        found = [x for x in lines if x.startswith("- **")]
    if not found:
        found = ["- " + text.strip().split("\n\n")[-1].replace("\n", " ")]
    count = f" ({sum(x.startswith(HOLDS) for x in claims)} of {len(claims)} hold)" if claims else ""
    return "\n".join([f"## [{title}]({page.name}){count}", "", *map(unlinked, found)])


def unlinked(line: str) -> str:
    """Links of a page are relative to this folder too, but for headings within it."""
    return re.sub(r"\[([^\]]+)\]\(#[^)]*\)", r"\1", line)


def main() -> None:
    """Write the list."""
    pages = {page.stem: page for page in sorted(FOLDER.glob("*.md")) if page.stem != "README"}
    names = [n for n in ORDER if n in pages] + [n for n in pages if n not in ORDER]
    parts = [INTRODUCTION, *(section(pages[name]) + "\n" for name in names)]
    (FOLDER / "README.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
