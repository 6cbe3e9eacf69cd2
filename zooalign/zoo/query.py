"""Options behind a ``?`` in a reference: ``?num_classes=10&img_size=[96,96]``.

One syntax for models and data. A value is JSON (number, true/false/null, quoted string, list)
where it parses as such, else it is the string itself.
"""

import json
import math
import re
from typing import Any
from urllib.parse import quote, unquote

from zooalign.errors import ZooalignError

__all__ = ["Options", "Value", "format_query", "options_to_json", "parse_query"]

Value = None | bool | int | float | str | tuple["Value", ...]
Options = tuple[tuple[str, Value], ...]

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
# Readable in a shell and not special in a query.
_SAFE = "/:,[]\"'{}()@!*;<>|^`~$\\ "


def parse_query(query: str, *, of: str, error: type[ZooalignError]) -> Options:
    """The options in ``query`` (the text behind the ``?``), sorted by name.

    ``of`` is the whole reference, for messages; ``error`` is the class raised for anything
    malformed: an empty or repeated name, a missing ``=``, a JSON object, a number that is not
    finite, or Python's spelling of true, false and null.
    """
    options: dict[str, Value] = {}
    for part in query.split("&"):
        name, equals, raw = part.partition("=")
        if not equals:
            raise error(f"{of!r}: option {part!r} has no '='; write name=value, joined by '&'")
        if not _KEY.fullmatch(name):
            raise error(f"{of!r}: {name!r} is not an option name (letters, digits, underscore)")
        if name in options:
            raise error(f"{of!r}: option {name!r} is given twice")
        try:
            options[name] = _parse_value(unquote(raw, errors="strict"))
        except ValueError as problem:
            raise error(f"{of!r}: option {name!r}: {problem}") from None
    return tuple(sorted(options.items()))


def format_query(options: Options) -> str:
    """The text :func:`parse_query` reads back to ``options`` (without the ``?``)."""
    return "&".join(f"{name}={_quoted(_format_value(value))}" for name, value in options)


def _quoted(text: str) -> str:
    # A space at the end of a reference would be taken for one around it.
    found = quote(text, safe=_SAFE)
    end = found.rstrip(" ")
    return end + "%20" * (len(found) - len(end))


def options_to_json(options: Options) -> dict[str, Any]:
    """The options as a new dict with lists in place of tuples."""
    return {name: _thaw(value) for name, value in options}


def _not_json(word: str) -> Any:
    raise ValueError(word)


def _loads(text: str) -> tuple[bool, Any]:
    try:
        return True, json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return False, None


def _parse_value(text: str) -> Value:
    if text in _PYTHON_WORDS:
        raise ValueError(f"write {_PYTHON_WORDS[text]}, or '\"{text}\"' for the string")
    is_json, value = _loads(text)
    return _freeze(value) if is_json else text


def _freeze(value: Any) -> Value:
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        raise ValueError("a JSON object is not supported; use numbers, strings or lists")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is too large")
    return value


def _thaw(value: Value) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value


def _format_value(value: Value) -> str:
    if isinstance(value, str) and value not in _PYTHON_WORDS and not _loads(value)[0]:
        return value
    return json.dumps(_thaw(value), separators=(",", ":"))
