"""Was every coupled axis permuted, and each exactly once?"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from torch import Tensor

from zooalign.errors import MergeError, SpecError
from zooalign.gate.checks.comparing import (
    aligned_states,
    expected_state,
    parents_by_source,
)
from zooalign.gate.findings import Problem, check
from zooalign.graph.lazy_state import same_bytes
from zooalign.merging.interpolate import LazyAverage
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.apply import gathered
from zooalign.symmetry.groups import Group, Member

__all__ = ["permutation_gaps"]

_FIX = "make the release again; every coupled axis has to be permuted, once"


@check(
    "permutation.valid",
    "every recorded permutation is valid for the spec",
    *("spec", "provenance"),
    fix="make the release again",
)
def valid(release: OpenedRelease) -> Iterator[Problem]:
    """A permutation file is missing, belongs to another spec, or is not a bijection in one of its
    groups or blocks: lengths are wrong, or numbers repeat, are out of range or not whole. Of an
    element (``--symmetries``) a map is outside of its class: no rotation, singular, not finite.
    """
    for alignment in release.provenance.alignments:
        try:
            release.moved(alignment.permutation)
        except SpecError as error:
            yield Problem(alignment.permutation, str(error))


@check(
    "permutation.coverage",
    "every coupled axis is permuted, exactly once",
    *("spec", "weights"),
    fix="derive the spec from the architecture (`zooalign spec`) and make the release again",
)
def coverage(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded spec misses an axis that the architecture couples with others, moves one twice,
    moves axes apart that belong together, or does not know a tensor of the weights. This is how a
    hand-kept table of names leaves parameters unpermuted.
    """
    yield from permutation_gaps(release.spec, release.derived_spec)
    for name in release.shapes:
        if name not in release.spec.shapes and name not in release.derived_spec.shapes:
            yield Problem(
                name, "the recorded spec does not know this tensor, so it was not permuted"
            )


@check(
    "permutation.applied",
    "every tensor was permuted, on every axis, once",
    *("spec", "provenance", "weights", "fit", "parents"),
    fix=_FIX,
)
def applied(release: OpenedRelease) -> Iterator[Problem]:
    """A tensor differs from what the recorded permutation makes of the parent's, and the mistake
    has a name: the tensor is the parent's unchanged, only some of its axes were permuted, or it was
    permuted twice or by the inverse. A table of names that was kept by hand has missed this
    parameter. (``parent.bytes`` reports every difference.)
    """
    provenance = release.provenance
    try:
        expected, states = expected_state(release), aligned_states(release)
        permutations = {
            alignment.source: release.permutation(alignment.permutation)
            for alignment in provenance.alignments
        }
    except (SpecError, MergeError):  # parent.bytes and permutation.valid report it
        return
    if expected is None or states is None:
        return
    for name in release.checkpoint:
        tensor = release.checkpoint[name]
        if name in provenance.recomputed or same_bytes(tensor, expected[name]):
            continue
        for source, permutation in permutations.items():
            mistake = _mistake(release, states, source, permutation, name)
            if mistake is not None:
                yield Problem(name, mistake)
                break


def _mistake(
    release: OpenedRelease,
    states: Sequence[Mapping[str, Tensor]],
    source: int,
    permutation: Permutation,
    name: str,
) -> str | None:
    """How the tensor was made of the parents', if by a known mistake with this source.

    ``states`` are those of all sources as they should be.
    """
    provenance, spec = release.provenance, release.spec
    released = release.checkpoint[name]
    original = parents_by_source(release)[source].member.state[name]

    def gives_release(tensor: Tensor) -> bool:
        if provenance.operation == "align":
            return same_bytes(tensor, released)
        parts = [{name: tensor if n == source else state[name]} for n, state in enumerate(states)]
        try:
            return same_bytes(LazyAverage(parts, provenance.weights)[name], released)
        except MergeError:
            return False

    if gives_release(original):
        parent = provenance.sources[source].reference
        return f"was not permuted: it is the tensor of {parent} as it was ({layout.SPEC} moves it)"
    steps = list(spec.sources(permutation, name))
    for count in range(1, len(steps)):
        for chosen in combinations(steps, count):
            if gives_release(_permuted(original, chosen)):
                missed = {axis for axes, _ in steps for axis in axes}
                missed -= {axis for axes, _ in chosen for axis in axes}
                return f"was not permuted along axis {', '.join(map(str, sorted(missed)))}"
    if gives_release(_permuted(original, (*steps, *steps))):
        return "was permuted twice"
    inverse = spec.invert(permutation)
    if gives_release(_permuted(original, tuple(spec.sources(inverse, name)))):
        return "was permuted the wrong way, by the inverse"
    return None


def _permuted(tensor: Tensor, steps: tuple[tuple[tuple[int, ...], np.ndarray], ...]) -> Tensor:
    for axes, index in steps:
        tensor = gathered(tensor, axes, index)
    return tensor.contiguous()


# Where the members of a spec stand: (parameter, first axis) to the groups that move it there.
Places = dict[tuple[str, int], list[tuple[Group, Member]]]


def permutation_gaps(recorded: PermutationSpec, derived: PermutationSpec) -> Iterator[Problem]:
    """What ``recorded`` misses, moves too often or moves apart, by the ``derived`` spec."""
    yield from _moved_twice(recorded)
    if recorded.hash == derived.hash:
        return
    for name in derived.shapes:
        if name not in recorded.shapes:
            yield Problem(name, "the recorded spec does not know this tensor")
    places, needed = _places(recorded), _places(derived)
    for (name, axis), members in needed.items():
        if (name, axis) not in places:
            mover = members[0][0].id
            yield Problem(name, f"its axis {axis} belongs to group {mover}, and nothing moves it")
        elif _positions(members) != _positions(places[name, axis]):
            yield Problem(
                name, f"other positions of its axis {axis} are moved than belong together"
            )
    for name, axis in places.keys() - needed.keys():
        yield Problem(name, f"its axis {axis} is moved, and the architecture does not allow it")
    for group in derived.groups:
        yield from _moved_apart(group, places)


def _places(spec: PermutationSpec) -> Places:
    places: Places = {}
    for group in spec.groups:
        for member in group.members:
            places.setdefault((member.parameter, member.axis), []).append((group, member))
    return places


def _positions(members: list[tuple[Group, Member]]) -> set[tuple[tuple[int, ...], bytes]]:
    """The positions of each member, as a set that does not depend on the groups' names."""
    return {
        (member.axes, np.sort(member.positions(group).reshape(-1)).tobytes())
        for group, member in members
    }


def _moved_twice(spec: PermutationSpec) -> Iterator[Problem]:
    """Positions under two groups that are neither nested in each other nor across each other."""
    for (name, axis), members in _places(spec).items():
        for (one, first), (other, second) in combinations(members, 2):
            nested = one.id in _outer(spec, other) or other.id in _outer(spec, one)
            if first.axes != second.axes or nested:
                continue
            if _collide(first.positions(one), second.positions(other)):
                yield Problem(name, f"its axis {axis} is moved twice: by {one.id} and {other.id}")


def _collide(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether positions of two groups do more than cross, ``(*contexts, units, positions)`` each.

    Where they cross (query heads of a key head, and the dims of all of these), each group moves
    along a direction of its own, and both may: within a context every unit of one meets every unit
    of the other, and all in as many positions.
    """
    units_a, units_b = a.shape[-2], b.shape[-2]
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    unit_at = np.full(int(max(a.max(), b.max())) + 1, -1)  # position to the unit of a there
    unit_at[a.reshape(-1)] = np.repeat(np.arange(len(a)), a.shape[1])
    met = unit_at[b]
    # A pair is the number of a unit of a and one of b, as one integer.
    pairs, shared = np.unique(
        (met * len(b) + np.arange(len(b))[:, None])[met >= 0], return_counts=True
    )
    if not len(pairs):
        return False
    contexts = pairs // len(b) // units_a * len(b) + pairs % len(b) // units_b
    first, context, pairs_in_context = np.unique(
        contexts, return_index=True, return_inverse=True, return_counts=True
    )[1:]
    every_pair_meets = bool((pairs_in_context == units_a * units_b).all())
    return not (every_pair_meets and bool((shared == shared[first][context]).all()))


def _outer(spec: PermutationSpec, group: Group) -> set[str]:
    """The groups that a group is nested in."""
    outer: set[str] = set()
    waiting = list(group.over)
    while waiting:
        name = waiting.pop()
        if name in spec.by_id and name not in outer:
            outer.add(name)
            waiting.extend(spec.by_id[name].over)
    return outer


def _moved_apart(group: Group, places: Places) -> Iterator[Problem]:
    """Members of one group that the recorded spec moves by different groups."""
    parameter_of: dict[str, str] = {}
    for member in group.members:
        movers = {g.id for g, _ in places.get((member.parameter, member.axis), ())}
        if len(movers) == 1:
            parameter_of.setdefault(movers.pop(), member.parameter)
    first, *others = parameter_of.items() or [("", "")]
    for mover, parameter in others:
        yield Problem(
            parameter,
            f"moves together with {first[1]} in the architecture (group {group.id}), and the "
            f"recorded spec moves it by itself, by group {mover}",
        )
