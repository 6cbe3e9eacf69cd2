"""The symmetries of an architecture, and what an alignment moved, for a page."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from zooalign.coverage.reasons import MATHEMATICAL, MEANING, kind_of
from zooalign.report.content import FrozenPart, GroupPart, ParameterPart, ReasonPart, Structure
from zooalign.report.limits import (
    MOST_GROUPS,
    MOST_MEMBERS,
    MOST_PARAMETERS,
    family,
    one_of_each,
)
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.groups import Frozen, Group

__all__ = ["structure_of"]

_LIMIT = "a limit of zooalign: it does not know that these positions may move"


def structure_of(
    spec: PermutationSpec, permutations: Sequence[Permutation] = ()
) -> tuple[Structure, tuple[str, ...]]:
    """The structure of a spec with what each permutation moves, and what was left out of it."""
    names = list(spec.shapes)
    tensors = one_of_each(names, MOST_PARAMETERS)
    chosen = one_of_each([group.id for group in spec.groups], MOST_GROUPS)
    place_of = {names[place]: n for n, place in enumerate(tensors)}
    groups = tuple(_group(spec.groups[place], place_of, permutations) for place in chosen)
    reasons = _reasons(spec.frozen)
    number_of = {reason.kind: n for n, reason in enumerate(reasons)}
    frozen: dict[str, list[FrozenPart]] = defaultdict(list)
    for entry in spec.frozen:
        if entry.parameter in place_of:
            frozen[entry.parameter].append(_frozen(entry, number_of))
    left_out = [
        f"{count - len(shown)} of {count} {what}: at least one of each kind is shown"
        for what, count, shown in (
            ("tensors", len(names), tensors),
            ("groups", len(spec.groups), chosen),
        )
        if count > len(shown)
    ]
    hidden = sum(group.left_out for group in groups)
    if hidden:
        left_out.append(f"{hidden} members of the groups that are shown")
    structure = Structure(
        architecture=spec.architecture,
        hash=spec.hash,
        log10_order=spec.log10_order,
        proof=None if spec.proof is None else msgspec.to_builtins(spec.proof),
        group_count=len(spec.groups),
        parameter_count=len(names),
        groups=groups,
        parameters=tuple(
            ParameterPart(name, spec.shapes[name], tuple(frozen[name]), name in spec.unused)
            for name in place_of
        ),
        reasons=reasons,
        unknown_operators=spec.unknown_operators,
    )
    return structure, tuple(left_out)


def _group(
    group: Group, place_of: Mapping[str, int], permutations: Sequence[Permutation]
) -> GroupPart:
    places = [
        (place_of[member.parameter], member.axis)
        for member in group.members
        if member.parameter in place_of
    ][:MOST_MEMBERS]
    moved = tuple(_moved(one.indices[group.id]) for one in permutations)
    return GroupPart(
        id=group.id,
        size=group.size,
        copies=group.copies,
        over=group.over,
        family=family(group.id),
        members=tuple(places),
        left_out=len(group.members) - len(places),
        moved=moved,
    )


def _moved(index: np.ndarray) -> float:
    return float((index != np.arange(index.shape[-1])).mean())


def _reasons(frozen: Sequence[Frozen]) -> tuple[ReasonPart, ...]:
    axes = Counter(kind_of(entry) for entry in frozen)
    tensors: dict[str, set[str]] = defaultdict(set)
    for entry in frozen:
        tensors[kind_of(entry)].add(entry.parameter)
    return tuple(
        ReasonPart(
            kind, MEANING.get(kind, _LIMIT), kind not in MATHEMATICAL, count, len(tensors[kind])
        )
        for kind, count in axes.most_common()
    )


def _frozen(entry: Frozen, number_of: Mapping[str, int]) -> FrozenPart:
    return FrozenPart(
        axis=entry.axis,
        reason=number_of[kind_of(entry)],
        operator=entry.operator,
        detail=entry.detail,
        part=entry.positions is not None,
        inside=entry.partial,
    )
