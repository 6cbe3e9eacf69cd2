"""JSON Schemas (draft 2020-12) of the files that zooalign writes and of the commands' JSON.

They are generated from the types: ``python -m zooalign.schemas`` writes them again.
"""

import json
from importlib.resources import files
from typing import Any

__all__ = ["load_schema", "schema_names"]


def schema_names() -> tuple[str, ...]:
    """The names: a command's (``merge``), or that of a file (``provenance.file``)."""
    entries = (entry.name for entry in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in entries if name.endswith(".json")))


def load_schema(name: str) -> dict[str, Any]:
    """One schema, as Python values; FileNotFoundError where there is none of that name."""
    text = files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
