"""Which pages have numbers of older versions than those that are installed.

``python docs/site/versions.py`` lists pages with numbers of other versions; its exit code is 1 if
one is older. The site says so on top of such a page. A page says what its numbers were made with
in words such as ``torch 2.14.1`` or ``zooalign 0.1.0``; major and minor versions are compared.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DISTRIBUTIONS = ("zooalign", "torch", "timm", "transformers", "diffusers")
# What a page says of another version than its numbers' is no statement of theirs.
STATED = re.compile(rf"(?<!before )\b({'|'.join(DISTRIBUTIONS)}) (\d+\.\d+)(?:\.\d+)")


def stated_versions(text: str) -> dict[str, set[str]]:
    """By distribution, the minor versions that a page names with three numbers."""
    stated: dict[str, set[str]] = {}
    for name, minor in STATED.findall(text):
        stated.setdefault(name, set()).add(minor)
    return stated


def installed_versions() -> dict[str, str]:
    """The minor versions of what is installed."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = ".".join(version(name).split(".")[:2])
        except PackageNotFoundError:
            continue
    return versions


def older(text: str, current: dict[str, str]) -> dict[str, str]:
    """By distribution, the oldest version that a page states and that is older than the current."""
    oldest = {
        name: min(minors, key=_numbers)
        for name, minors in stated_versions(text).items()
        if name in current
    }
    return {name: old for name, old in oldest.items() if _numbers(old) < _numbers(current[name])}


def _numbers(minor: str) -> tuple[int, ...]:
    return tuple(map(int, minor.split(".")))


def _is_measured(page: Path) -> bool:
    return page.parent.name in ("experiments", "benchmarks") and page.stem != "README"


def main() -> int:
    current = installed_versions()
    print("installed:", ", ".join(f"{name} {minor}" for name, minor in current.items()))
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    pages += sorted((ROOT / "plugins").glob("*/README.md"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    outdated = {page: older(text, current) for page, text in texts.items()}
    for page, text in texts.items():
        stated = stated_versions(text)
        others = [
            f"{name} {minor}" + (" (older)" if name in outdated[page] else "")
            for name, minors in stated.items()
            for minor in sorted(minors - {current.get(name, "")}, key=_numbers)
        ]
        if others:
            print(f"{page.relative_to(ROOT)}: numbers of {', '.join(others)}")
        elif _is_measured(page) and not stated:
            print(f"{page.relative_to(ROOT)}: does not say what its numbers were made with")
    return int(any(outdated.values()))


if __name__ == "__main__":
    sys.exit(main())
