"""Keyword arguments that are the fields of a settings dataclass."""

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any, TypeVar

from zooalign.errors import ArgumentError

__all__ = ["settings_and_options", "settings_of"]

T = TypeVar("T")


def settings_of(kind: type[T], keywords: Mapping[str, Any], function: str, **others: Any) -> T:
    """``kind(**others, **keywords)``, where ``keywords`` come from a caller of ``function``.

    Raises
    ------
    ArgumentError
        If one is not a field; it names the field that was probably meant.
    """
    names = [name for name in signature(kind).parameters if name not in others]
    for name in keywords:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            known = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
            raise ArgumentError(f"{function}() has no argument '{name}'; {known}")
    return kind(**others, **keywords)


def settings_and_options(kind: type[T], keywords: Mapping[str, Any]) -> tuple[T, dict[str, Any]]:
    """Keywords that are fields of ``kind``, and the others: options of a matching method."""
    names = signature(kind).parameters
    options = {name: value for name, value in keywords.items() if name not in names}
    return kind(**{n: v for n, v in keywords.items() if n in names}), options
