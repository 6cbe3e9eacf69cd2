"""Does a recorded spec move every coupled axis, and each exactly once?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.groups import Group, Member

__all__ = ["Gap", "gaps"]


@dataclass(frozen=True)
class Gap:
    """A parameter that a spec treats otherwise than the architecture needs."""

    parameter: str
    message: str


def gaps(recorded: PermutationSpec, derived: PermutationSpec) -> Iterator[Gap]:
    """What ``recorded`` misses, moves too often or moves apart, by the ``derived`` spec."""
    yield from _twice(recorded)
    if recorded.hash == derived.hash:
        return
    for name in derived.shapes:
        if name not in recorded.shapes:
            yield Gap(name, "the recorded spec does not know this tensor")
    ours, theirs = _places(recorded), _places(derived)
    for (name, axis), places in theirs.items():
        if (name, axis) not in ours:
            owner = places[0][0].id
            yield Gap(name, f"its axis {axis} belongs to group {owner}, and nothing moves it")
        elif _covered(places) != _covered(ours[name, axis]):
            yield Gap(name, f"other positions of its axis {axis} are moved than belong together")
    for name, axis in ours.keys() - theirs.keys():
        yield Gap(name, f"its axis {axis} is moved, and the architecture does not allow it")
    for group in derived.groups:
        yield from _apart(group, recorded)


def _places(spec: PermutationSpec) -> dict[tuple[str, int], list[tuple[Group, Member]]]:
    found: dict[tuple[str, int], list[tuple[Group, Member]]] = {}
    for group in spec.groups:
        for member in group.members:
            found.setdefault((member.parameter, member.axis), []).append((group, member))
    return found


def _covered(places: list[tuple[Group, Member]]) -> set[tuple[tuple[int, ...], bytes]]:
    """The positions of each place, as a set that does not depend on the groups' names."""
    return {
        (member.axes, np.sort(member.positions(group).reshape(-1)).tobytes())
        for group, member in places
    }


def _twice(spec: PermutationSpec) -> Iterator[Gap]:
    """Positions under two groups of which none is nested in the other, nor across the other."""
    for (name, axis), places in _places(spec).items():
        for index, (one, first) in enumerate(places):
            for other, second in places[index + 1 :]:
                if first.axes != second.axes or _nested(spec, one, other):
                    continue
                if _collide(first.positions(one), second.positions(other)):
                    yield Gap(name, f"its axis {axis} is moved twice: by {one.id} and {other.id}")


def _collide(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether positions of two groups do more than cross, ``(*contexts, units, positions)`` each.

    Where they cross (query heads of a key head, and the dims of all of these), each group moves
    along a direction of its own, and both may: within a context every unit of one meets every unit
    of the other, and all in as many positions.
    """
    sizes = a.shape[-2], b.shape[-2]
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    owner = np.full(int(max(a.max(), b.max())) + 1, -1)
    owner[a.reshape(-1)] = np.repeat(np.arange(len(a)), a.shape[1])
    met = owner[b]
    pairs, shared = np.unique(
        (met * len(b) + np.arange(len(b))[:, None])[met >= 0], return_counts=True
    )
    if not len(pairs):
        return False
    contexts = pairs // len(b) // sizes[0] * len(b) + pairs % len(b) // sizes[1]
    first, which, meeting = np.unique(
        contexts, return_index=True, return_inverse=True, return_counts=True
    )[1:]
    whole = bool((meeting == sizes[0] * sizes[1]).all())
    return not (whole and bool((shared == shared[first][which]).all()))


def _nested(spec: PermutationSpec, one: Group, other: Group) -> bool:
    return one.id in _outer(spec, other) or other.id in _outer(spec, one)


def _outer(spec: PermutationSpec, group: Group) -> set[str]:
    found: set[str] = set()
    waiting = list(group.over)
    while waiting:
        name = waiting.pop()
        if name in spec.by_id and name not in found:
            found.add(name)
            waiting.extend(spec.by_id[name].over)
    return found


def _apart(group: Group, recorded: PermutationSpec) -> Iterator[Gap]:
    """Members of one group that the recorded spec moves by different groups."""
    table = _places(recorded)
    owners: dict[str, str] = {}
    for member in group.members:
        found = {g.id for g, m in table.get((member.parameter, member.axis), ())}
        if len(found) == 1:
            owners.setdefault(found.pop(), member.parameter)
    if len(owners) > 1:
        (_, first), *others = owners.items()
        for name, parameter in others:
            yield Gap(
                parameter,
                f"moves together with {first} in the architecture (group {group.id}), and the "
                f"recorded spec moves it by itself, by group {name}",
            )
