"""The converse test: two units of a frozen set change places, and the output changes.

Where it does not, a symmetry was missed. A set is moved as a missed symmetry would move it:
through every place of the state dict in which its units stand, with all that lies beside them.

Two positions that always hold the same value (copies in a concatenation, padding) or that
nothing reads may change places too, and need no spec for it: their weights can be mixed in any
proportion. The test tells such pairs from symmetries by going only a part of the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

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
    solution, traced = derived.solution, derived.traced
    open_classes = tuple(replace(c, fixed=False, over=()) for c in solution.classes)
    opened = replace(solution, classes=open_classes)
    members: dict[int, list[Member]] = {}
    for name, boxes in parameter_boxes(traced, solution).items():
        for number, member in members_of(opened, name, traced.captured.shapes[name], boxes):
            members.setdefault(number, []).append(member)
    grouped = set(derived.class_of.values())
    result = []
    for number, places in members.items():
        cls = solution.classes[number]
        if cls.size > 1 and (cls.fixed or number not in grouped):
            cause = traced.sets.fixed(cls.alternatives[0][0]) or _UNSTATED
            result.append(FrozenSet(Group(place_name(places), cls.size, tuple(places)), cause))
    return tuple(result)


def converse(
    module: nn.Module,
    derived: Derived,
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
    pairs: int = 2,
    most: int | None = None,
) -> Converse:
    """Exchange two units of frozen sets and see whether the output changes.

    Parameters and inputs are random and in float64, as in :func:`~zooalign.symmetry.verify`. A
    pair that changes nothing is tried again on other random values before it is reported: a
    saturated activation may hide one. ``pairs`` is their number per hidden set (positional sets
    are tested with one), ``most`` the maximum number of sets, evenly chosen over all kinds of
    reasons.

    Raises
    ------
    SpecError
        If the module computes no finite floating output.
    """
    all_frozen = frozen_sets(derived)
    chosen = _chosen(all_frozen, most)

    @cache
    def trial(draw: int) -> Trial:
        return Trial(module, example_inputs, seed + draw)

    generator = np.random.default_rng(seed)
    count, unchanged = 0, []
    for frozen in chosen:
        opened = replace(derived.spec, groups=(frozen.group,), fixed_sets={})
        for units in _pairs(frozen.group.size, pairs if frozen.hidden else 1, generator):
            count += 1
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
        transpositions=count,
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
