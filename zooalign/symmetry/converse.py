"""The converse test: two units of a frozen set change places, and the output changes.

Where it does not, a symmetry was missed. A set is moved as a missed symmetry would move it:
through every place of the state dict in which its units stand, with all that lies beside them.

Two sets that stand in the same places (pieces of the same axes) may be one set whose units the spec
keeps apart. So a unit of each of two such sets change places, too, whether they are groups or
frozen.

Two positions that always hold the same value (copies in a concatenation, padding) or that
nothing reads may change places too, and need no spec for it: their weights can be mixed in any
proportion. The test tells such pairs from symmetries by going only a part of the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import prod
from typing import Any

import msgspec
import numpy as np
from torch import nn

from zooalign.graph.index_sets import Cause
from zooalign.symmetry.derive import Derived, members_of, parameter_boxes, place_name
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.trial import Trial

__all__ = ["POSITIONAL", "Converse", "FrozenSet", "Unchanged", "converse", "frozen_sets"]

# Positions of inputs, outputs and kernels are not hidden units.
POSITIONAL = frozenset({"input", "output", "kernel position"})

# The share of mixing; not a fraction of small numbers, which a symmetry might allow.
_PART = 0.3819660112501051

# Pairs of sets; there are as many as pairs of pieces of an axis.
_MOST_PAIRS = 64

_SEPARATE = Cause("two sets", "the solution of all relations", "pieces of the same axes")
_UNSTATED = Cause("not stated", "the solution of all relations")


@dataclass(frozen=True)
class FrozenSet:
    """A set of positions that no group moves, with its places in the state dict.

    ``group`` is the group it would be if it were free.
    """

    group: Group
    cause: Cause

    @property
    def name(self) -> str:
        """The first place, as ``parameter:axis``."""
        return self.group.id

    @property
    def hidden(self) -> bool:
        """Whether its positions are units inside the network."""
        return self.cause.kind not in POSITIONAL


@dataclass(frozen=True)
class Unchanged:
    """Two units of a frozen set that changed places without changing the output.

    If they are of two sets, ``name`` has the names of both, and units are counted through both.
    ``mixable`` says that their weights can also be mixed in another proportion: both positions
    always hold the same value, or nothing reads them. That is not a missed permutation.
    """

    name: str
    cause: Cause
    size: int
    units: tuple[int, int]
    relative_error: float
    mixable: bool = False


@dataclass(frozen=True)
class Converse:
    """How many frozen sets there are and were tested, with how many exchanges of two units.

    The pairs in ``unchanged`` left the output as it was: missed symmetries, but for mixable ones.
    """

    sets: int
    hidden: int
    tested: int
    hidden_tested: int
    transpositions: int
    unchanged: tuple[Unchanged, ...]

    @property
    def ok(self) -> bool:
        """Whether no missed symmetry was seen."""
        return all(pair.mixable for pair in self.unchanged)


def frozen_sets(derived: Derived) -> tuple[FrozenSet, ...]:
    """Every set of two positions or more in the state dict that no group moves."""
    grouped = set(derived.class_of.values())
    return tuple(
        FrozenSet(group, _cause(derived, number))
        for number, group in _moved_whole(derived).items()
        if derived.solution.classes[number].fixed or number not in grouped
    )


def _cause(derived: Derived, number: int) -> Cause:
    atom = derived.solution.classes[number].alternatives[0][0]
    return derived.traced.sets.fixed(atom) or _UNSTATED


def _separate_sets(derived: Derived) -> list[tuple[FrozenSet, int]]:
    """Every two sets of hidden units in the same places as one set, with the size of the first."""
    names = {number: name for name, number in derived.class_of.items()}
    alike: dict[object, list[Group]] = {}
    for number, group in _moved_whole(derived).items():
        if _cause(derived, number).kind not in POSITIONAL:
            named = msgspec.structs.replace(group, id=names.get(number, group.id))
            alike.setdefault(tuple(map(_place, _in_order(group))), []).append(named)
    return [
        (FrozenSet(_side_by_side(one, other), _SEPARATE), one.size)
        for groups in alike.values()
        for one, other in combinations(groups, 2)
    ]


def _in_order(group: Group) -> list[Member]:
    return sorted(group.members, key=_place)


def _place(member: Member) -> tuple[str, int, tuple[int, ...], int]:
    """The axis of a member, and how many positions of it its first unit has."""
    first = [block for block in member.blocks if block.first == 0]
    positions = sum(prod(count for count, _ in block.repeat) for block in first)
    return member.parameter, member.axis, member.axes, positions


def _side_by_side(one: Group, other: Group) -> Group:
    """The units of one set, then those of another in the same places."""
    members = []
    for left, right in zip(_in_order(one), _in_order(other), strict=True):
        moved = tuple(msgspec.structs.replace(b, first=b.first + one.size) for b in right.blocks)
        members.append(msgspec.structs.replace(left, blocks=(*left.blocks, *moved)))
    return Group(f"{one.id} with {other.id}", one.size + other.size, tuple(members))


def _moved_whole(derived: Derived) -> dict[int, Group]:
    """By number of class, the places of its units with all that lies beside them."""
    solution, traced = derived.solution, derived.traced
    open_classes = tuple(replace(c, fixed=False, over=()) for c in solution.classes)
    opened = replace(solution, classes=open_classes)
    members: dict[int, list[Member]] = {}
    for name, boxes in parameter_boxes(traced, solution).items():
        for number, member in members_of(opened, name, traced.captured.shapes[name], boxes):
            members.setdefault(number, []).append(member)
    return {
        number: Group(place_name(places), solution.classes[number].size, tuple(places))
        for number, places in members.items()
        if solution.classes[number].size > 1
    }


def converse(
    module: nn.Module,
    derived: Derived,
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
    pairs: int = 2,
    most: int | None = None,
) -> Converse:
    """Exchange two units of frozen sets, or of two sets, and see whether the output changes.

    Parameters and inputs are random and in float64, as in :func:`~zooalign.symmetry.verify`. A
    pair that changes nothing is tried again on other random values before it is reported: a
    saturated activation may hide one. ``pairs`` is their number per hidden set (positional sets
    are tested with one), ``most`` the maximum number of sets, evenly chosen over all kinds of
    reasons, and of pairs of sets that stand in the same places (one exchange each).

    Raises
    ------
    SpecError
        If the module computes no finite floating output.
    """
    all_frozen, generator = frozen_sets(derived), np.random.default_rng(seed)
    chosen = _chosen(all_frozen, most)
    tries = [
        (frozen, units)
        for frozen in chosen
        for units in _pairs(frozen.group.size, pairs if frozen.hidden else 1, generator)
    ]
    separate = _chosen_evenly(_separate_sets(derived), _MOST_PAIRS if most is None else most)
    for both, size in separate:
        first, second = generator.integers(size), generator.integers(size, both.group.size)
        tries.append((both, (int(first), int(second))))

    @cache
    def trial(draw: int) -> Trial:
        return Trial(module, example_inputs, seed + draw)

    unchanged = []
    for frozen, units in tries:
        opened = replace(derived.spec, groups=(frozen.group,), fixed_sets={})
        moved = _transposition(opened, *units)
        limit = trial(0).tolerance
        error = _error(trial(0), opened, moved)
        if error <= limit:
            error = max(error, _error(trial(1), opened, moved))
        if error <= limit:
            size = frozen.group.size
            mixable = _error(trial(0), opened, moved, share=_PART) <= limit
            unchanged.append(Unchanged(frozen.name, frozen.cause, size, units, error, mixable))
    return Converse(
        sets=len(all_frozen),
        hidden=sum(s.hidden for s in all_frozen),
        tested=len(chosen),
        hidden_tested=sum(s.hidden for s in chosen),
        transpositions=len(tries),
        unchanged=tuple(unchanged),
    )


def _error(run: Trial, spec: PermutationSpec, moved: Permutation, share: float = 1.0) -> float:
    """The relative change of the outputs under a permutation, or under a share of it."""
    state = spec.apply(moved, run.state)
    if share != 1.0:
        state = {
            name: old.lerp(state[name], share) if old.is_floating_point() else old
            for name, old in run.state.items()
        }
    return run.error(state)


def _transposition(spec: PermutationSpec, first: int, second: int) -> Permutation:
    (group,) = spec.groups
    index = np.arange(group.size)
    index[[first, second]] = second, first
    return Permutation(spec.hash, {group.id: index})


def _pairs(size: int, wanted: int, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """The middle and an end (a kernel's centre always counts), then random pairs."""
    seen = {(0, size // 2)}
    yield (0, size // 2)
    while len(seen) < min(wanted, size * (size - 1) // 2):
        a, b = sorted(int(i) for i in generator.choice(size, 2, replace=False))
        if (a, b) not in seen:
            seen.add((a, b))
            yield (a, b)


def _chosen_evenly(
    candidates: Sequence[tuple[FrozenSet, int]], most: int
) -> list[tuple[FrozenSet, int]]:
    count = min(most, len(candidates))
    return [candidates[i * len(candidates) // count] for i in range(count)]


def _chosen(candidates: Sequence[FrozenSet], most: int | None) -> list[FrozenSet]:
    """Kinds of reasons take turns; within a kind, sets are chosen from first to last layer."""
    if most is None or len(candidates) <= most:
        return list(candidates)
    kinds: dict[str, list[FrozenSet]] = {}
    for frozen in candidates:
        kinds.setdefault(frozen.cause.kind, []).append(frozen)
    share = dict.fromkeys(kinds, 0)
    while sum(share.values()) < most:
        left = [kind for kind, sets in kinds.items() if share[kind] < len(sets)]
        for kind in left[: most - sum(share.values())]:
            share[kind] += 1
    return [
        sets[i * len(sets) // share[kind]]
        for kind, sets in kinds.items()
        for i in range(share[kind])
    ]
