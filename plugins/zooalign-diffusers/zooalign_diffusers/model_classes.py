"""The model classes of diffusers, and their configurations."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any

from zooalign.plugins import ModelReferenceError

from zooalign_diffusers.model_table import ENTRIES, Entry

__all__ = ["class_named", "class_names", "complete", "entry_named", "options_of", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Only errors of diffusers are logged in this block."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@cache
def class_names() -> tuple[str, ...]:
    """Every model class that diffusers offers at its top, sorted."""
    import diffusers

    names = [name for name in dir(diffusers) if name[0].isupper()]
    return tuple(sorted(name for name in names if _is_model(getattr(diffusers, name, None))))


def _is_model(value: Any) -> bool:
    import diffusers

    return (
        inspect.isclass(value)
        and issubclass(value, diffusers.ModelMixin)
        and hasattr(value, "from_config")
        and value is not diffusers.ModelMixin
    )


def class_named(name: str, where: str) -> Any:
    """A model class of diffusers; nothing else that its package holds.

    Raises
    ------
    ModelReferenceError
        There is none of this name; the nearest names are given.
    """
    import diffusers

    if name.isidentifier() and _is_model(value := getattr(diffusers, name, None)):
        return value
    close = get_close_matches(name, class_names(), n=3)
    hint = f"; similar: {', '.join(close)}" if close else ""
    raise ModelReferenceError(
        f"{where}: diffusers {diffusers.__version__} has no model class {name!r}{hint}"
    )


def entry_named(name: str, where: str) -> Entry:
    """The table's entry of a class.

    Raises
    ------
    ModelReferenceError
        There is none yet.
    """
    if name not in ENTRIES:
        raise ModelReferenceError(
            f"{where}: the inputs of {name} are not in the table of model classes "
            "(zooalign_diffusers/model_table.py); its spec can be derived in Python, from the "
            "module and inputs of your own: zooalign.derive_spec(module, inputs)"
        )
    return ENTRIES[name]


def options_of(model_class: Any) -> dict[str, Any]:
    """The fields of a class's configuration and their defaults (``inspect.Parameter.empty``)."""
    parameters = list(inspect.signature(model_class.__init__).parameters.values())[1:]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p.default for p in parameters if p.kind not in kinds}


def complete(model_class: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the class's defaults filled in, without the marks of files."""
    defaults = {
        name: value
        for name, value in options_of(model_class).items()
        if value is not inspect.Parameter.empty
    }
    given = {name: value for name, value in config.items() if not name.startswith("_")}
    return {**defaults, **given}
