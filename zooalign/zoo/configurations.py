"""What in a configuration decides what a model computes, and where two models differ in it."""

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from zooalign.zoo.adapters import Architecture
from zooalign.zoo.json_files import flattened
from zooalign.zoo.models import Model

__all__ = ["ComputingFields", "differing_fields", "differing_values"]

_SHOWN = 60


@runtime_checkable
class ComputingFields(Protocol):
    """An optional part of an adapter: the fields that decide what is computed."""

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """Values by the field's name (``rope_parameters.rope_theta``), defaults filled in.

        Left out is what bears on training, generation or the file alone.
        """
        ...


def differing_fields(first: Model, other: Model) -> dict[str, tuple[str, str]]:
    """The fields in which two models compute something else, each with both values as JSON.

    Of a library whose adapter does not say which fields count, all do.
    """
    if _same_architecture(first, other):
        return {}
    ours, theirs = _fields(first), _fields(other)
    names = dict.fromkeys([*ours, *theirs])
    return differing_values(
        {name: ours.get(name) for name in names}, {name: theirs.get(name) for name in names}
    )


def differing_values(
    first: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """The names that both have with different values, sorted, each with both as JSON."""
    return {
        name: (_shown(first[name]), _shown(other[name]))
        for name in sorted(first.keys() & other.keys())
        if first[name] != other[name]
    }


def _same_architecture(first: Model, other: Model) -> bool:
    """Whether the configurations are the same in every field."""
    return first.architecture.to_json() == other.architecture.to_json()


def _fields(model: Model) -> Mapping[str, Any]:
    if isinstance(model.adapter, ComputingFields):
        fields = model.adapter.computing_fields(model.architecture)
    else:
        fields = flattened(model.architecture.config)
    return {"library": model.adapter.name, **fields}


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
