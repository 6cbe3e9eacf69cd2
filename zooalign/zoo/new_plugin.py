"""The folder of a new plugin for a model library, from a template that works as it is."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from zooalign.errors import ModelReferenceError
from zooalign.zoo.files import new_directory
from zooalign.zoo.libraries import library_adapters

__all__ = ["NewPluginResult", "write_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_ENDING = ".txt"


@dataclass(frozen=True)
class NewPluginResult:
    """The JSON of ``zooalign new-plugin`` (``docs/cli.md``)."""

    name: str
    directory: str
    files: tuple[str, ...]


def write_plugin(
    name: str, output: Path | str | None = None, *, dry_run: bool = False
) -> NewPluginResult:
    """Write the folder of a plugin for the library ``name``.

    Parameters
    ----------
    name:
        What stands before the colon of its references: small letters, digits and hyphens.
    output:
        The folder; default ``zooalign-NAME`` in the working directory.
    dry_run:
        Check everything, and write nothing.

    Raises
    ------
    ModelReferenceError
        The name is not of that kind, or a library of that name is there already.
    CheckpointError
        The folder is there and not empty. Nothing is written.
    """
    if not _NAME.fullmatch(name):
        raise ModelReferenceError(
            f"{name!r} cannot be the name of a library: use small letters, digits and hyphens, "
            "such as my-models"
        )
    if name in {adapter.name for adapter in library_adapters()}:
        raise ModelReferenceError(f"there is a library {name!r} already (zooalign plugins)")
    package_name = name.replace("-", "_")
    words = {
        "name": name,
        "package_name": package_name,
        "class_name": "".join(part.capitalize() for part in package_name.split("_")) + "Adapter",
        "version": version("zooalign").partition("+")[0],
    }
    content = {
        path.replace("package/", f"zooalign_{package_name}/"): Template(text).substitute(words)
        for path, text in _templates(files("zooalign.zoo") / "plugin_template")
    }
    directory = Path(output or f"zooalign-{name}")
    needed = sum(map(len, content.values()))
    with new_directory(directory, needed=needed, dry_run=dry_run) as folder:
        for path, text in content.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    return NewPluginResult(name, str(directory), tuple(sorted(content)))


def _templates(folder: Traversable, above: str = "") -> list[tuple[str, str]]:
    """Each file's path in the plugin, and its text."""
    found: list[tuple[str, str]] = []
    for item in folder.iterdir():
        path = f"{above}{item.name}"
        if item.is_dir():
            found += _templates(item, f"{path}/")
        elif path.endswith(_ENDING):
            found.append((path.removesuffix(_ENDING), item.read_text(encoding="utf-8")))
    return found
