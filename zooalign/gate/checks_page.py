"""The table of checks in ``docs/checks.md``, from the checks themselves.

``python -m zooalign.gate.checks_page docs/checks.md`` writes it between the page's two marks.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from zooalign.gate.checks import BUILT_IN
from zooalign.gate.findings import NEEDS, Check
from zooalign.zoo.files import atomic_write

__all__ = ["BEGIN", "END", "checks_markdown", "with_checks"]

BEGIN = "<!-- checks: written by zooalign.gate.checks_page, do not edit -->"
END = "<!-- checks: end -->"


def checks_markdown(checks: Sequence[Check] = BUILT_IN) -> str:
    """The overview table, then a section per check: what a finding means and how to correct it."""
    lines = ["| id | severity | holds if nothing is found |", "|---|---|---|"]
    for check in checks:
        anchor = check.id.replace(".", "")
        lines.append(f"| [`{check.id}`](#{anchor}) | {check.severity} | {check.title} |")
    for check in checks:
        lines += ["", f"### {check.id}", "", check.meaning.replace("``", "`")]
        if check.fix:
            lines += ["", f"*To correct it:* {check.fix}."]
        needs = [NEEDS[need] for need in NEEDS if need in check.needs]
        lines += ["", f"Needs: {', '.join(needs) or 'nothing'}."]
        if check.parameters:
            defaults = ", ".join(
                f"`{name} = {json.dumps(parameter.default)}`"
                for name, parameter in check.parameters.items()
            )
            lines.append(f"Parameters: {defaults}.")
    return "\n".join(lines) + "\n"


def with_checks(page: str) -> str:
    """The page with the part between its marks written again."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{checks_markdown()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    atomic_write(path, with_checks(path.read_text(encoding="utf-8")).encode())
