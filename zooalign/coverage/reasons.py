"""Reasons for frozen axes: which are facts about a network, and which are zooalign's limits."""

from collections import Counter
from collections.abc import Iterable

from zooalign.coverage.rows import LimitRow
from zooalign.symmetry.groups import Frozen

__all__ = ["MATHEMATICAL", "MEANING", "kind_of", "limits", "reasons"]

# What the kinds of reasons mean; every other kind is a limit of zooalign.
MEANING = {
    "input": "a position of the network's input",
    "output": "a position of the network's output",
    "kernel position": "a position of a kernel, or of the image it slides over",
    "position": "positions are told apart: padding, strided slices, grids, coordinates",
    "constant": "a constant of the architecture differs from position to position",
    "index": "positions are named by an index",
    "order": "the operator depends on the order: cumulative sums, causal masks, sorting",
    "gate": "a gate of a recurrent layer: each has a function of its own",
    "single unit": "a single unit: nothing could change places with it",
}
MATHEMATICAL = frozenset(MEANING)


_NOT_KNOWN = "its values are not known"


def kind_of(entry: Frozen) -> str:
    """The kind of a reason; a constant without values is a separate kind, and a limit."""
    unknown = entry.kind == "constant" and entry.detail.startswith(_NOT_KNOWN)
    return "constant without values" if unknown else entry.kind


def reasons(frozen: Iterable[Frozen]) -> dict[str, int]:
    """How many axes (or parts of axes) each kind of reason holds."""
    return dict(Counter(kind_of(entry) for entry in frozen).most_common())


def limits(frozen: Iterable[Frozen], most: int = 20) -> list[LimitRow]:
    """Axes that are frozen because zooalign does not know better, a few of each kind of reason."""
    frozen_by: dict[tuple[str, str], list[Frozen]] = {}
    for entry in frozen:
        if kind_of(entry) not in MATHEMATICAL:
            frozen_by.setdefault((kind_of(entry), entry.operator), []).append(entry)
    return [
        {
            "kind": kind,
            "operator": operator,
            "detail": entries[0].detail,
            "first": f"{entries[0].parameter}:{entries[0].axis}",
            "count": len(entries),
        }
        for (kind, operator), entries in list(frozen_by.items())[:most]
    ]
