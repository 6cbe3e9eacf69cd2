"""What in a configuration decides what a model computes, and where two models differ in it."""

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from zooalign.errors import CheckpointError
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.json_files import flattened, parse_object
from zooalign.zoo.layout import CONFIG_NAME

__all__ = ["ComputingFields", "Configured", "differing_fields", "differing_values", "stating_dtype"]

_SHOWN = 60
_DTYPES = ("dtype", "torch_dtype")


class Configured(Protocol):
    """A model whose configuration is known: one that was opened, or one in memory."""

    @property
    def adapter(self) -> LibraryAdapter:
        """The adapter of its library."""
        ...

    @property
    def architecture(self) -> Architecture:
        """Its architecture there."""
        ...


@runtime_checkable
class ComputingFields(Protocol):
    """An optional part of an adapter: the fields that decide what is computed."""

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """Values by the field's name (``rope_parameters.rope_theta``), defaults filled in.

        Left out is what bears on training, generation or the file alone.
        """
        ...


def differing_fields(first: Configured, other: Configured) -> dict[str, tuple[str, str]]:
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


def stating_dtype(files: Mapping[str, bytes], dtype: torch.dtype) -> dict[str, bytes]:
    """The files of a model, with ``dtype`` where ``config.json`` says what weights are loaded in.

    transformers converts weights to what it finds there (``dtype``, before ``torch_dtype``).
    """
    if CONFIG_NAME not in files:
        return dict(files)
    config = parse_object(files[CONFIG_NAME], f"{CONFIG_NAME}:", CheckpointError, unique=False)
    stated = _with_dtype(config, str(dtype).removeprefix("torch."))
    if stated == config:
        return dict(files)
    return {**files, CONFIG_NAME: (json.dumps(stated, indent=2) + "\n").encode()}


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    changed = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            value = _with_dtype(value, dtype)
        changed[name] = dtype if name in _DTYPES and isinstance(value, str) else value
    return changed


def _same_architecture(first: Configured, other: Configured) -> bool:
    """Whether the configurations are the same in every field."""
    return first.architecture.to_json() == other.architecture.to_json()


def _fields(model: Configured) -> Mapping[str, Any]:
    if isinstance(model.adapter, ComputingFields):
        fields = model.adapter.computing_fields(model.architecture)
    else:
        fields = flattened(model.architecture.config)
    return {"library": model.adapter.name, **fields}


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
