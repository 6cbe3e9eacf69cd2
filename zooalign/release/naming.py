"""Models with other labels and tokens, or without a classifier; and the record of that."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError, ZooalignWarning
from zooalign.graph.axis_names import Kind
from zooalign.merging.naming import NameChange
from zooalign.release.settings import Naming
from zooalign.text import some_of
from zooalign.zoo.adapters import NamedAxes
from zooalign.zoo.configurations import differing_values
from zooalign.zoo.converted_checkpoint import ConvertedCheckpoint
from zooalign.zoo.models import Model
from zooalign.zoo.names import preprocessing_of

__all__ = [
    "NamesRecord",
    "renamed",
    "require_known_choices",
    "warn_of_preprocessing",
    "without_head",
]

_SHOWN = 4


@dataclass(frozen=True)
class NamesRecord:
    """What became of a source's named rows, for provenance.

    ``tensors`` have them along an axis. ``moved`` rows came to another place, ``lacking`` were
    taken from the other sources, ``left_out`` are not in the merge.
    """

    source: int
    kind: Kind
    tensors: tuple[str, ...]
    moved: int
    lacking: int
    left_out: int

    @classmethod
    def of(cls, source: int, change: NameChange) -> "NamesRecord":
        """The record of a change."""
        tensors = tuple(dict.fromkeys(name for name, _ in change.places))
        left_out = len(change.left_out)
        return cls(source, change.kind, tensors, change.moved, len(change.lacking), left_out)


def require_known_choices(naming: Naming) -> None:
    """Raise MergeError for a way to name that there is not."""
    for flag, value, known in (
        ("--tokens", naming.tokens, ("union", "intersection", "first")),
        ("--head", naming.head, ("first", "none")),
    ):
        if value is not None and value not in known:
            raise MergeError(f"{flag} is {value!r}; there are {', '.join(known)}")


def warn_of_preprocessing(models: Sequence[Model]) -> None:
    """Name the fields in which models' inputs are made otherwise than the first one's.

    Warns
    -----
    ZooalignWarning
        Once for each model.
    """
    first, *others = models
    stated = preprocessing_of(first)
    for other in others:
        differing = differing_values(stated, preprocessing_of(other))
        if differing:
            fields = ", ".join(f"{name} ({a}, {b})" for name, (a, b) in differing.items())
            warnings.warn(
                f"inputs of '{first.reference}' and '{other.reference}' are made in different "
                f"ways: {fields}",
                ZooalignWarning,
                stacklevel=4,
            )


def renamed(model: Model, changes: Sequence[NameChange]) -> Model:
    """The model with the family's names in its configuration; its checkpoint stays."""
    if not changes or not isinstance(model.adapter, NamedAxes):
        return model
    pairs = [(change.own, change.common) for change in changes]
    return replace(model, architecture=model.adapter.renamed(model.architecture, pairs))


def without_head(model: Model) -> Model:
    """The model without its classifier.

    Raises
    ------
    ModelReferenceError, CheckpointError
        Its library has no such model, or its checkpoint lacks a part of it, or is stored in other
        pieces.
    """
    if not isinstance(model.adapter, NamedAxes):
        raise ModelReferenceError(
            f"'{model.reference}': {model.adapter.name} cannot build it without its classifier "
            "(--head none)"
        )
    architecture, prefix = model.adapter.headless(model.architecture)
    headless = replace(model, architecture=architecture)
    checkpoint = model.checkpoint
    if isinstance(checkpoint, ConvertedCheckpoint) and not checkpoint.keeps_tensors:
        raise CheckpointError(
            f"'{model.reference}': stored in other pieces than it is computed with, and so not "
            "written without its classifier (--head none)"
        )
    assert checkpoint is not None
    stored = {name: f"{prefix}{name}" for name in headless.build().state_dict()}
    lacking = [name for name, old in stored.items() if old not in checkpoint]
    missing = [name for name in lacking if not name.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(
            f"'{model.reference}' does not have all of the model without its classifier: it lacks "
            f"{some_of(missing, _SHOWN)}. Keep the first model's classifier (--head first)"
        )
    kept = {name: old for name, old in stored.items() if name not in lacking}
    return replace(headless, checkpoint=checkpoint.renamed(kept))
