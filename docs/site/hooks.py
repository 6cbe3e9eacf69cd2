"""What mkdocs is told beyond ``mkdocs.yml``: generated pages, links out of docs/, old numbers."""

import re
import sys
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import commands_page
import notebooks
import schemas_page
import versions

LINK = re.compile(r"(\]\()((?!https?:|#|data:)[^)\s]+)(\))")
ROOT = Path(__file__).parent.parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, one for the commands' help and one for the schemas."""
    pages = {
        "reference/commands.md": commands_page.markdown(),
        "reference/schemas.md": schemas_page.markdown(),
    }
    for path in sorted(notebooks.TUTORIALS.glob("*.ipynb")):
        pages[f"tutorials/{path.stem}.md"] = notebooks.markdown(path)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Say what is old, and let links that leave docs/ lead to the repository."""
    folder = dirname(page.file.src_uri)

    def resolved(link: re.Match[str]) -> str:
        path, _, anchor = link[2].partition("#")
        target = normpath(join("docs", folder, path))
        own = target.removeprefix("docs/").replace(".ipynb", ".md") == page.file.src_uri
        if path.endswith(".ipynb") and not own:  # the page of a notebook, but on it the file
            return f"{link[1]}{path.removesuffix('.ipynb')}.md{link[3]}"
        if files.get_file_from_path(target.removeprefix("docs/")) and target.startswith("docs/"):
            return link[0]
        if not (ROOT / target).exists():
            return link[0]  # mkdocs says that it is broken
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        address = f"{config.repo_url}/{kind}/main/{target}"
        return f"{link[1]}{address}{'#' + anchor if anchor else ''}{link[3]}"

    outside = re.split(r"(^```.*?^```$)", LINK.sub(resolved, markdown), flags=re.M | re.S)
    return _with_warning("".join(outside))


def _with_warning(markdown: str) -> str:
    current = versions.installed_versions()
    outdated = versions.older(markdown, current)
    if not outdated:
        return markdown
    said = ", ".join(f"{name} {old} (now {current[name]})" for name, old in outdated.items())
    heading, newline, rest = markdown.partition("\n")
    warning = f'\n!!! warning "Older numbers"\n    Numbers on this page were made with {said}.\n'
    return f"{heading}{newline}{warning}{rest}"
