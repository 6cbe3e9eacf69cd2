"""Models whose rows stand for labels and tokens: brought into one order by name."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError, ZooalignWarning
from zooalign.graph.axis_names import AxisNames, Kind
from zooalign.graph.coupled_axes import Place, axes_like, axes_of_outputs
from zooalign.merging.named_rows import Sources
from zooalign.release.settings import Naming
from zooalign.symmetry import Derived
from zooalign.text import printable, some_of
from zooalign.zoo.adapters import NamedAxes
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.configurations import differing_values
from zooalign.zoo.converted_checkpoint import ConvertedCheckpoint
from zooalign.zoo.models import Model

__all__ = [
    "NameChange",
    "NamesRecord",
    "changes_between",
    "common_names",
    "names_of",
    "placed",
    "preprocessing_of",
    "renamed",
    "require_known_choices",
    "sources_of",
    "warn_of_changes",
    "warn_of_preprocessing",
    "without_head",
]

_SHOWN = 4
_LONGEST = 40
_FILES = {
    "labels": "config.json",
    "tokens": "tokenizer.json, vocab.txt or vocab.json",
}

Names = Mapping[Kind, AxisNames]


@dataclass(frozen=True)
class NameChange:
    """From a model's own names along an axis to those of a family.

    ``sources`` are the model's positions for those of the family, -1 where it has none; ``places``
    are the axes of tensors.
    """

    own: AxisNames
    common: AxisNames
    sources: tuple[int, ...]
    places: tuple[Place, ...] = ()

    @property
    def kind(self) -> Kind:
        """Which names these are."""
        return self.own.kind

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of the family whose rows are not taken from the model."""
        names = zip(self.common.names, self.sources, strict=True)
        return tuple(name for name, source in names if source < 0 and name is not None)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the model whose rows are not used."""
        used = set(self.sources)
        return tuple(n for k, n in enumerate(self.own.names) if n is not None and k not in used)

    @property
    def spare(self) -> int:
        """How many rows of the model have no name and are not used."""
        used = set(self.sources)
        return sum(n is None and k not in used for k, n in enumerate(self.own.names))

    @property
    def moved(self) -> int:
        """How many of the model's rows come to another place."""
        return sum(0 <= source != place for place, source in enumerate(self.sources))


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


def require_known_choices(naming: Naming) -> None:
    """Raise MergeError for a way to name that there is not."""
    for flag, value, known in (
        ("--tokens", naming.tokens, ("union", "intersection", "first")),
        ("--head", naming.head, ("first", "none")),
    ):
        if value is not None and value not in known:
            raise MergeError(f"{flag} is {value!r}; there are {', '.join(known)}")


def common_names(models: Sequence[Names], naming: Naming) -> Names:
    """The names of a family: the first model's, or of tokens those of all or common to all."""
    common = dict(models[0])
    tokens = [names["tokens"] for names in models if "tokens" in names and names["tokens"].known]
    if "tokens" in common and common["tokens"].known:
        if naming.tokens == "union":
            joined = common["tokens"].joined(tokens[1:])
            if len(tokens) > 1 and joined.without(common["tokens"]):
                common["tokens"] = joined
        elif naming.tokens == "intersection":
            shared = common["tokens"].shared(tokens[1:])
            if common["tokens"].without(shared):
                common["tokens"] = shared
    return common


def changes_between(
    own: Names, common: Names, naming: Naming, reference: str, first: str
) -> tuple[NameChange, ...]:
    """What brings a model's rows into the order of a family.

    Rows of equal number whose names are not known are taken to be in one order.

    Raises
    ------
    MergeError
        Names differ and it is not said what to do (``naming``), or are not known and as many are
        not there.
    """
    changes = []
    for kind in own.keys() & common.keys():
        change = _change(own[kind], common[kind], naming, reference, first)
        if change is not None:
            changes.append(change)
    return tuple(sorted(changes, key=lambda change: change.kind))


def _change(
    own: AxisNames, common: AxisNames, naming: Naming, reference: str, first: str
) -> NameChange | None:
    named = own.known and common.known
    if own.names == common.names or (len(own) == len(common) and not named):
        return None
    if named and not own.without(common) and not common.without(own):
        return NameChange(own, common, own.sources(common))
    if own.kind == "labels" and naming.head == "first":
        return NameChange(own, common, (-1,) * len(common))
    if own.kind == "tokens" and naming.tokens is not None and named:
        return NameChange(own, common, own.sources(common))
    raise MergeError(_refusal(own, common, named, reference, first))


def _refusal(own: AxisNames, common: AxisNames, named: bool, reference: str, first: str) -> str:
    what = own.kind
    if named:
        parts = [
            f"'{reference}' has other {what} than '{first}'",
            *_listed("only it has", own.without(common)),
            *_listed("it lacks", common.without(own)),
        ]
    else:
        parts = [
            f"'{reference}' has {len(own)} {what} and '{first}' {len(common)}, and of one of them "
            f"no names are known ({_FILES[what]})"
        ]
    advice = {
        "labels": "keep the first model's classifier and merge the rest (--head first), or leave "
        "the classifiers out (--head none)",
        "tokens": "say which to keep (--tokens union, intersection or first)"
        if named
        else "put the tokenizer's files beside the weights",
    }
    return f"{'; '.join(parts)}. Rows that stand for other {what} are not averaged: {advice[what]}"


def _listed(verb: str, names: Sequence[str]) -> list[str]:
    return [f"{verb} {_shown(names)}"] if names else []


def _shown(names: Sequence[str]) -> str:
    return some_of([f"'{printable(name, most=_LONGEST)}'" for name in names], _SHOWN)


def placed(changes: Sequence[NameChange], model: Model, derived: Derived) -> tuple[NameChange, ...]:
    """The changes with the axes that the names stand along; none of names that no tensor has.

    Labels are those of an axis of an output; what is one axis with it, position by position, is
    read from the graph of ``model``, which has the family's names.
    """
    with_places = (replace(change, places=_places(change, model, derived)) for change in changes)
    return tuple(change for change in with_places if change.places)


def _places(change: NameChange, model: Model, derived: Derived) -> tuple[Place, ...]:
    if change.kind == "labels":
        return axes_of_outputs(derived.traced, len(change.common))
    if not isinstance(model.adapter, NamedAxes):
        return ()
    tensors = model.adapter.token_tensors(model.build())
    return axes_like(derived.traced, [(name, 0) for name in tensors])


def sources_of(changes: Sequence[NameChange]) -> Sources:
    """The changes as sources of tensors."""
    return Sources.along({place: change.sources for change in changes for place in change.places})


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


def warn_of_changes(reference: str, changes: Sequence[NameChange]) -> None:
    """Say which rows were moved, which a model lacks, and which are not used.

    Warns
    -----
    ZooalignWarning
        Once for each kind of names.
    """
    for change in changes:
        parts = []
        if change.moved:
            parts.append(f"{change.moved} rows come to other places")
        if change.lacking and change.kind == "tokens":
            parts.append(f"it has no rows of {_shown(change.lacking)}")
        if change.left_out:
            parts.append(f"its rows of {_shown(change.left_out)} are not used")
        if change.spare:
            parts.append(f"{change.spare} rows of no name are not used")
        if parts:
            tensors = some_of([name for name, _ in change.places], _SHOWN)
            warnings.warn(
                f"'{reference}' is taken by its {change.kind}: {'; '.join(parts)} ({tensors})",
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
        Its library has no such model, or its checkpoint is stored in other pieces.
    """
    if not isinstance(model.adapter, NamedAxes):
        raise ModelReferenceError(
            f"'{model.reference}': {model.adapter.name} cannot build it without its classifier "
            "(--head none)"
        )
    architecture, prefix = model.adapter.headless(model.architecture)
    headless = replace(model, architecture=architecture)
    checkpoint = model.checkpoint
    if isinstance(checkpoint, ConvertedCheckpoint):
        raise CheckpointError(
            f"'{model.reference}': stored in other pieces than it is computed with, and so not "
            "written without its classifier (--head none)"
        )
    assert checkpoint is not None
    kept = {
        name: f"{prefix}{name}"
        for name in headless.build().state_dict()
        if f"{prefix}{name}" in checkpoint
    }
    return replace(headless, checkpoint=_under_names(checkpoint, kept))


def _under_names(checkpoint: Checkpoint, stored: Mapping[str, str]) -> Checkpoint:
    """Some tensors of a checkpoint under other names."""
    return Checkpoint(
        {name: checkpoint.info(old) for name, old in stored.items()},
        lambda name: checkpoint[stored[name]],
        files=checkpoint.files,
        layout={name: checkpoint.layout[old] for name, old in stored.items()},
        metadata=checkpoint.metadata,
    )
