"""The JSON of operations and files: typed values, whose fields are the JSON's."""

import json
from abc import ABC, abstractmethod
from typing import Any, TypeVar, get_type_hints

import msgspec

__all__ = ["Report", "json_text", "merged_fields", "plain"]

Fields = TypeVar("Fields")


def plain(value: Any) -> Any:
    """A typed value as dicts, tuples, strings and numbers; NumPy's numbers become Python's."""
    return msgspec.to_builtins(value, enc_hook=lambda number: number.item())


def json_text(value: Any, *, indent: int) -> str:
    """A typed value as indented JSON; NaN and infinity are an error."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def merged_fields(kind: type[Fields], *parts: Any) -> Fields:
    """A ``kind`` with the fields of ``parts``; of a field that several have the last counts."""
    fields: dict[str, Any] = {}
    for part in parts:
        fields |= part if isinstance(part, dict) else vars(part)
    names = get_type_hints(kind)
    return msgspec.convert(plain({n: v for n, v in fields.items() if n in names}), kind)


class Report(ABC):
    """What an operation did; ``result`` is the JSON of its command."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """The JSON as a typed value."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON as plain values, whose sequences are lists."""
        values: dict[str, Any] = json.loads(json_text(self.result, indent=0))
        return values
