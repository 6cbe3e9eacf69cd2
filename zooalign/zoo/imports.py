"""Importing what a user names as ``package.module:callable``."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zooalign.errors import ZooalignError

__all__ = ["import_object", "working_directory_importable"]


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """Modules in the working directory can be imported; installed ones take precedence."""
    if "" in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        sys.path.remove("")


def import_object(target: str, error: type[ZooalignError]) -> Any:
    """The object that ``package.module:attribute.path`` names.

    Only for names typed by the user: importing runs code. Raises ``error`` if there is none.
    """
    module_name, _, attribute = target.partition(":")
    try:
        with working_directory_importable():
            found = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        raise error(
            f"py:{target}: {problem}; modules are looked for in the environment and in the "
            "working directory"
        ) from problem
    except Exception as problem:
        raise error(
            f"py:{target}: importing {module_name} failed: {type(problem).__name__}: {problem}"
        ) from problem
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise error(f"py:{target}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found
