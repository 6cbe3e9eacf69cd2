"""Names of rows: what brings the rows of models into one order, by label and by token."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.axis_names import AxisNames, Kind
from zooalign.graph.coupled_axes import Place, axes_like, axes_of_outputs
from zooalign.merging.named_rows import Sources
from zooalign.symmetry import Derived
from zooalign.text import printable, some_of
from zooalign.zoo.adapters import LibraryAdapter, NamedAxes
from zooalign.zoo.names import Names

__all__ = [
    "NameChange",
    "changes_between",
    "common_names",
    "placed",
    "sources_of",
    "warn_of_changes",
]

_SHOWN = 4
_LONGEST = 40
_FILES = {
    "labels": "config.json",
    "tokens": "tokenizer.json, vocab.txt, vocab.json or tokenizer.model",
}
_ADVICE: Mapping[Kind, str] = {
    "labels": "keep the first model's classifier and merge the rest (--head first), or leave the "
    "classifiers out (--head none)",
    "tokens": "say which to keep (--tokens union, intersection or first)",
}


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


def common_names(models: Sequence[Names], how: str | None) -> Names:
    """The names of a family: the first model's, or of tokens those of all or common to all."""
    common = dict(models[0])
    tokens = [names["tokens"] for names in models if "tokens" in names and names["tokens"].known]
    if "tokens" in common and common["tokens"].known:
        if how == "union":
            joined = common["tokens"].joined(tokens[1:])
            if len(tokens) > 1 and joined.without(common["tokens"]):
                common["tokens"] = joined
        elif how == "intersection":
            shared = common["tokens"].shared(tokens[1:])
            if common["tokens"].without(shared):
                common["tokens"] = shared
    return common


def changes_between(
    own: Names,
    common: Names,
    references: tuple[str, str],
    accepted: Collection[Kind] = (),
    advice: Mapping[Kind, str] = _ADVICE,
) -> tuple[NameChange, ...]:
    """What brings a model's rows into the order of a family.

    ``references`` are its and the first one's, for messages; names of the ``accepted`` kinds may be
    others. Rows of equal number whose names are not known are taken to be in one order.

    Raises
    ------
    MergeError
        Names differ and are not accepted, or are not known and their numbers differ.
    """
    changes = []
    for kind in own.keys() & common.keys():
        change = _change(own[kind], common[kind], references, kind in accepted, advice[kind])
        if change is not None:
            changes.append(change)
    return tuple(sorted(changes, key=lambda change: change.kind))


def _change(
    own: AxisNames,
    common: AxisNames,
    references: tuple[str, str],
    accepted: bool,
    advice: str,
) -> NameChange | None:
    named = own.known and common.known
    if own.names == common.names or (len(own) == len(common) and not named):
        return None
    if named and not own.without(common) and not common.without(own):
        return NameChange(own, common, own.sources(common))
    if own.kind == "labels" and accepted:
        return NameChange(own, common, (-1,) * len(common))
    if own.kind == "tokens" and accepted and named:
        return NameChange(own, common, own.sources(common))
    if own.kind == "tokens" and not named:
        advice = "put the tokenizer's files beside the weights"
    raise MergeError(
        f"{_difference(own, common, named, references)}. Rows that stand for other {own.kind} are "
        f"not averaged: {advice}"
    )


def _difference(own: AxisNames, common: AxisNames, named: bool, references: tuple[str, str]) -> str:
    what, (reference, first) = own.kind, references
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
    return "; ".join(parts)


def _listed(verb: str, names: Sequence[str]) -> list[str]:
    return [f"{verb} {_shown(names)}"] if names else []


def _shown(names: Sequence[str]) -> str:
    return some_of([f"'{printable(name, most=_LONGEST)}'" for name in names], _SHOWN)


def placed(
    changes: Sequence[NameChange], adapter: LibraryAdapter, module: nn.Module, derived: Derived
) -> tuple[NameChange, ...]:
    """The changes with the axes that the names stand along; none of names that no tensor has.

    Labels are those of an axis of an output; what is one axis with it, position by position, is
    read from the graph. ``module`` and ``derived`` have the family's names.
    """
    with_places = (
        replace(change, places=_places(change, adapter, module, derived)) for change in changes
    )
    return tuple(change for change in with_places if change.places)


def _places(
    change: NameChange, adapter: LibraryAdapter, module: nn.Module, derived: Derived
) -> tuple[Place, ...]:
    if change.kind == "labels":
        return axes_of_outputs(derived.traced, len(change.common))
    tensors = adapter.token_tensors(module) if isinstance(adapter, NamedAxes) else ()
    return axes_like(derived.traced, [(name, 0) for name in tensors])


def sources_of(changes: Sequence[NameChange]) -> Sources:
    """The changes as sources of tensors."""
    return Sources.along({place: change.sources for change in changes for place in change.places})


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
