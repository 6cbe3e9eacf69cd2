"""Does a recorded spec move every coupled axis, and each exactly once?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import CheckpointError, MergeError, SpecError
from zooalign.gate.checks.parent import by_index, expected_of
from zooalign.gate.findings import Finding, check_of
from zooalign.graph.lazy_state import LazyTensors
from zooalign.merging.interpolate import LazyAverage
from zooalign.pipelines.apply import prove_parent
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.release.opening import derive_for
from zooalign.release.provenance import Provenance
from zooalign.release.sources import source_of
from zooalign.symmetry import Permutation, PermutationSpec, Permuted
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.same_function import compare_functions
from zooalign.zoo.fitting import state_dict_for
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.writer import digest_of

__all__ = ["CHECKS", "Gap", "gaps"]


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


_REMAKE = "make the release again; every coupled axis has to be permuted, once"


@check_of(
    "permutation.valid", "every recorded permutation is one of the spec", "spec", "provenance"
)
def valid(subject: OpenedRelease) -> Iterator[Finding]:
    """A permutation file is missing, of another spec, or no bijection in one of its groups or
    blocks: wrong lengths, repeats, numbers out of range or that are not whole.

    Fix: make the release again.
    """
    assert subject.provenance is not None
    for alignment in subject.provenance.alignments:
        try:
            subject.permutation(alignment.permutation)
        except SpecError as error:
            yield Finding(
                "permutation.valid",
                "error",
                alignment.permutation,
                str(error),
                "make the release again",
            )


@check_of("permutation.coverage", "every coupled axis is permuted, exactly once", "spec", "weights")
def coverage(subject: OpenedRelease) -> Iterator[Finding]:
    """The recorded spec misses an axis that the architecture couples with others, moves one twice,
    or moves apart what belongs together; or it does not know a tensor of the weights. This is how
    a hand-kept table of names leaves parameters unpermuted.

    Fix: derive the spec from the architecture (``zooalign spec``) and make the release again.
    """
    assert subject.spec is not None
    for gap in gaps(subject.spec, subject.derived_spec):
        yield Finding("permutation.coverage", "error", gap.parameter, gap.message, _REMAKE)
    for name in subject.shapes:
        if name not in subject.spec.shapes and name not in subject.derived_spec.shapes:
            yield Finding(
                "permutation.coverage",
                "error",
                name,
                "the recorded spec does not know this tensor, so it was not permuted",
                _REMAKE,
            )


@check_of(
    "permutation.applied",
    "every tensor was permuted, on every axis, once",
    *("spec", "provenance", "weights", "fit", "parents"),
)
def applied(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor differs from what the recorded permutation makes of the parent's, and the mistake
    can be named: it is the parent's tensor as it was, only some of its axes were permuted, it was
    permuted twice or the wrong way. (``parent.bytes`` reports every difference.)

    Fix: make the release again; a table of names that was kept by hand has missed this parameter.
    """
    made, spec = subject.provenance, subject.spec
    assert made is not None and spec is not None
    try:
        expected = expected_of(subject, made)
        files = {a.source: subject.permutation(a.permutation) for a in made.alignments}
    except (SpecError, MergeError):  # said by other checks
        return
    if expected is None:
        return
    for name in subject.checkpoint:
        if name in made.recomputed:
            continue
        found = subject.checkpoint[name]
        digest = digest_of(found)
        if digest == digest_of(expected[name]):
            continue
        for index, permutation in files.items():
            mistake = _mistake(subject, index, permutation, name, digest)
            if mistake is not None:
                yield Finding("permutation.applied", "error", name, mistake, _REMAKE)
                break


@check_of("permutation.only", "a release without weights says exactly what it makes", "provenance")
def only(subject: OpenedRelease) -> Iterator[Finding]:
    """The card has the tag ``permutation-only``, and the release is no alignment, has weights all
    the same, records no digests, or, with ``--parent``, the parent permuted is not what they say,
    computes something else, or has another spec.

    Fix: publish it again from the aligned directory, with ``--permutation-only``.
    """
    made = subject.provenance
    assert made is not None
    if not subject.permutation_only:
        return
    try:
        if made.operation != "align":
            raise SpecError(f"is a {made.operation}, which takes more than one parent's weights")
        if any(name.endswith(".safetensors") for name in subject.names):
            raise SpecError("has weights, and its card says that it has none")
        if not isinstance(subject.json(layout.DIGESTS), dict):
            raise SpecError(f"{layout.DIGESTS} is missing, so what is made cannot be checked")
        if subject.has("spec") and subject.has("parents"):
            parents = [
                open_model(r, model=subject.request.model) for r in subject.parent_references
            ]
            source = made.sources[made.alignments[0].source].files
            given = [p for p in parents if source_of(p, "parent").files == source]
            parent = (given or parents)[0]
            _prove_function(subject, made, parent, prove_parent(subject, made, parent))
    except (SpecError, CheckpointError, IndexError) as error:
        fix = "publish it again from the aligned directory, with --permutation-only"
        yield Finding("permutation.only", "error", subject.reference, str(error), fix)


def _prove_function(
    subject: OpenedRelease, made: Provenance, parent: Model, moved: Mapping[str, Tensor]
) -> None:
    """What ``spec.hash`` and ``parent.function`` say of weights; SpecError if it does not hold."""
    assert subject.spec is not None and parent.checkpoint is not None
    module = parent.build()
    derived = derive_for(parent, module).spec
    if derived.hash != subject.spec.hash:
        first = next((f"{gap.parameter}: {gap.message}" for gap in gaps(subject.spec, derived)), "")
        raise SpecError(f"{layout.SPEC} is not the spec of the parent's architecture. {first}")
    before = state_dict_for(module, parent.checkpoint, where=parent.reference)
    infos = {name: parent.checkpoint.info(name) for name in parent.checkpoint}
    after = state_dict_for(module, LazyTensors(infos, moved.__getitem__), where=subject.reference)
    found = compare_functions(module, before, after, parent.example_inputs())
    if not found.ok:
        raise SpecError(
            f"the permuted parent computes something else: relative error "
            f"{found.max_relative_error:.3g}, rounding explains {found.tolerance:.3g}"
        )


def _mistake(
    subject: OpenedRelease, index: int, permutation: Permutation, name: str, digest: str
) -> str | None:
    """How the tensor was made of the parents', if by a mistake that is known."""
    made, spec = subject.provenance, subject.spec
    assert made is not None and spec is not None
    states: dict[int, Mapping[str, Tensor]] = {
        i: parent.member.state for i, parent in by_index(subject).items()
    }
    raw = states[index][name]
    for alignment in made.alignments:
        i = alignment.source
        if i != index and i in states:
            states[i] = Permuted(spec, subject.permutation(alignment.permutation), states[i])

    def gives(tensor: Tensor) -> bool:
        if made.operation == "align":
            return digest_of(tensor) == digest
        parts = [{name: tensor} if i == index else {name: states[i][name]} for i in sorted(states)]
        try:
            return digest_of(LazyAverage(parts, made.weights)[name]) == digest
        except MergeError:
            return False

    parent = made.sources[index].reference
    if gives(raw):
        return f"was not permuted: it is the tensor of {parent} as it was ({layout.SPEC} moves it)"
    steps = list(spec.sources(permutation, name))
    for count in range(1, len(steps)):
        for chosen in combinations(range(len(steps)), count):
            if gives(_steps(raw, [steps[n] for n in chosen])):
                missed = sorted(
                    a for n in set(range(len(steps))) - set(chosen) for a in steps[n][0]
                )
                return f"was not permuted along axis {', '.join(map(str, missed))}"
    whole = _steps(raw, steps)
    if gives(_steps(whole, steps)):
        return "was permuted twice"
    if gives(_steps(raw, list(spec.sources(spec.invert(permutation), name)))):
        return "was permuted the wrong way, by the inverse"
    return None


def _steps(tensor: Tensor, steps: Sequence[tuple[tuple[int, ...], np.ndarray]]) -> Tensor:
    """Apply index arrays over axes, as :func:`zooalign.symmetry.apply.sources` gives them."""
    for axes, index in steps:
        where = torch.from_numpy(index)
        front = tensor.movedim(axes, tuple(range(len(axes))))
        flat = front.reshape(where.numel(), *front.shape[len(axes) :]).index_select(0, where)
        tensor = flat.reshape(front.shape).movedim(tuple(range(len(axes))), axes)
    return tensor.contiguous()


CHECKS = (valid, coverage, applied, only)
