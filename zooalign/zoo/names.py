"""What a model's library knows of the meaning of its rows, and of how its inputs are made."""

from collections.abc import Mapping
from pathlib import Path

from zooalign.graph.axis_names import AxisNames, Kind
from zooalign.zoo.adapters import NamedAxes
from zooalign.zoo.models import Model

__all__ = ["Names", "names_of", "preprocessing_of"]

# The names along the axes of a model, at most one of each kind.
Names = Mapping[Kind, AxisNames]


def names_of(model: Model) -> Names:
    """The names that a model's library knows of its rows."""
    if not isinstance(model.adapter, NamedAxes):
        return {}
    names = model.adapter.axis_names(model.architecture, _files_of(model))
    return {axis.kind: axis for axis in names}


def preprocessing_of(model: Model) -> Mapping[str, object]:
    """How a model's inputs are made, by field; empty where its library does not say."""
    if not isinstance(model.adapter, NamedAxes):
        return {}
    return model.adapter.preprocessing(model.architecture, _files_of(model))


def _files_of(model: Model) -> Path | None:
    if model.repo is not None:
        model.config_files()  # its tokenizer is fetched
    return model.directory
