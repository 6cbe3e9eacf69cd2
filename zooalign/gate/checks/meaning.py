"""What rows stand for and how inputs are made, against the parents."""

from collections.abc import Iterator

from zooalign.gate.findings import Problem, check
from zooalign.merging.naming import NameChange
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.text import printable
from zooalign.zoo.configurations import differing_values
from zooalign.zoo.names import preprocessing_of


@check(
    "meaning.names",
    "rows stand for the same labels and tokens in the parents",
    *("parents", "shapes"),
    fix="merge again with zooalign, which takes rows by their names",
)
def names(release: OpenedRelease) -> Iterator[Problem]:
    """A parent has the release's labels in another order, its tokenizer gives tokens other numbers,
    or it has other labels or tokens: rows of the classifier or of embeddings that stand for
    different things were averaged. It is a note where the record says that they were taken by name
    (``parent.bytes`` compares them then).
    """
    records = release.provenance.names if release.has("provenance") else ()
    by_name = {(record.source, record.kind) for record in records}
    for parent in _merged(release):
        for change in parent.member.changes:
            message = f"{_difference(change)} in {parent.member.reference}"
            where = change.places[0][0]
            if (parent.index, change.kind) in by_name:
                yield Problem(where, f"{message}; rows were taken by name", "", "note")
            else:
                yield Problem(where, message)


@check(
    "meaning.preprocessing",
    "the parents' inputs are made as the release's are",
    *("parents", "shapes"),
    severity="warning",
    fix="merge models that were trained on inputs of one kind, or evaluate the merge on yours",
)
def preprocessing(release: OpenedRelease) -> Iterator[Problem]:
    """A parent's images, sound or text were prepared in another way: mean, deviation, size,
    cropping, the steps of a tokenizer, the chat template. Only fields that both state count.
    """
    for parent in _merged(release):
        theirs = preprocessing_of(parent.member.stored)
        for name, (here, there) in differing_values(release.preprocessing, theirs).items():
            yield Problem(name, f"is {here}, and {there} in {parent.member.reference}")


def _merged(release: OpenedRelease) -> Iterator[Parent]:
    """The parents whose rows are in the release: not the target of an alignment."""
    aligned = release.has("provenance") and release.provenance.operation == "align"
    return (parent for parent in release.parents if not (aligned and parent.index == 0))


def _difference(change: NameChange) -> str:
    """The first position that stands for something else, and what is not there."""
    what = change.kind.removesuffix("s")
    pairs = zip(change.common.names, change.own.names, strict=False)
    first = next(((n, *pair) for n, pair in enumerate(pairs) if pair[0] != pair[1]), None)
    if first is None:
        return f"has rows of {len(change.common)} {change.kind}, and of {len(change.own)}"
    here, there = (
        f"no {what}" if name is None else f"the {what} '{printable(name, most=40)}'"
        for name in first[1:]
    )
    return f"has at position {first[0]} {here}, and {there}"
