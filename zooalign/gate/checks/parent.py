"""The weights against the parents given with ``--parent``: recomputed, byte for byte."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from zooalign.errors import MergeError, SpecError
from zooalign.gate.findings import Finding, check_of
from zooalign.merging.interpolate import LazyAverage
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.release.provenance import Provenance
from zooalign.symmetry import Permuted
from zooalign.symmetry.same_function import compare_functions

__all__ = ["CHECKS", "aligned_states", "by_index", "expected_of"]

_NEEDS = ("spec", "provenance", "weights", "fit", "parents")
_RUNNING = ("running_mean", "running_var")
_REMAKE = "make the release again from these parents"


@check_of("parent.recorded", "the given parents are the recorded sources", *_NEEDS)
def recorded(subject: OpenedRelease) -> Iterator[Finding]:
    """A model given with ``--parent`` is none of the recorded sources, by the SHA-256 of its files
    of weights.

    Fix: give the parent at the recorded commit, or use ``--recorded-parents``.
    """
    assert subject.provenance is not None
    for parent in subject.parents:
        if parent.index is None:
            names = ", ".join(source.reference for source in subject.provenance.sources)
            yield Finding(
                "parent.recorded",
                "error",
                parent.member.reference,
                f"its weights are those of none of the recorded sources ({names})",
                "give the parent at the recorded commit",
            )


@check_of(
    "parent.bytes", "the weights are what the record says, made anew from the parents", *_NEEDS
)
def exact(subject: OpenedRelease) -> Iterator[Finding]:
    """The recorded permutations, applied to the parents and averaged with the recorded weights, do
    not give this tensor's bytes. Tensors recomputed on data are left out, and must be such tensors.

    Fix: make the release again from these parents; ``permutation.applied`` says what went wrong
    where it is a known mistake.
    """
    made = subject.provenance
    assert made is not None
    excused = set(made.recomputed)
    yield from _unexcused(made, excused)
    try:
        expected = expected_of(subject, made)
    except (SpecError, MergeError) as error:
        yield Finding("parent.bytes", "error", subject.reference, str(error), _REMAKE)
        return
    if expected is None:
        yield Finding(
            "parent.bytes",
            "warning",
            subject.reference,
            "the weights could not be made anew: not all parents they come from were given",
            "give --parent for "
            + ("the source of the alignment" if made.operation == "align" else "every parent"),
        )
        return
    for name in subject.checkpoint:
        if name not in excused and not _equal(expected[name], subject.checkpoint[name]):
            yield Finding(
                "parent.bytes",
                "error",
                name,
                "differs from what the recorded permutations make of the parents",
                _REMAKE,
            )


@check_of("parent.function", "an aligned model computes the same function as its source", *_NEEDS)
def function(subject: OpenedRelease) -> Iterator[Finding]:
    """On seeded random inputs, run in float64, an output of the aligned model differs from its
    source's by more than rounding explains at the lowest precision in the graph. Each output is
    reported by itself.

    Fix: make the release again. If ``parent.bytes`` finds nothing, the spec claims a symmetry that
    the architecture does not have: run ``zooalign verify``.
    """
    assert subject.provenance is not None and subject.model is not None
    source = by_index(subject).get(1)
    if subject.provenance.operation != "align" or source is None:
        return
    try:
        found = compare_functions(
            subject.module, source.member.state, subject.state, subject.model.example_inputs()
        )
    except SpecError as error:
        yield Finding("parent.function", "error", subject.reference, str(error), _REMAKE)
        return
    for name, off in found.outputs:
        if not off <= found.tolerance:
            yield Finding(
                "parent.function",
                "error",
                f"output {name}" if name else subject.reference,
                f"is not that of {source.member.reference}: relative error {off:.3g}, rounding "
                f"explains {found.tolerance:.3g}",
                _REMAKE,
            )


def by_index(subject: OpenedRelease) -> dict[int, Parent]:
    """Recorded place to parent; an only parent of an alignment counts as its source."""
    assert subject.provenance is not None
    found = {p.index: p for p in subject.parents if p.index is not None}
    if subject.provenance.operation == "align" and not found and len(subject.parents) == 1:
        found = {1: subject.parents[0]}
    return found


def aligned_states(subject: OpenedRelease) -> list[Mapping[str, Tensor]] | None:
    """All sources of a merge, or an alignment's, in the first one's order; None without one."""
    parents, spec, made = by_index(subject), subject.spec, subject.provenance
    assert spec is not None and made is not None
    states: list[Mapping[str, Tensor]] = []
    files = {alignment.source: alignment.permutation for alignment in made.alignments}
    for index in [1] if made.operation == "align" else range(len(made.sources)):
        if index not in parents:
            return None
        state: Mapping[str, Tensor] = parents[index].member.state
        if index in files:
            state = Permuted(spec, subject.permutation(files[index]), state)
        states.append(state)
    return states


def expected_of(subject: OpenedRelease, made: Provenance) -> Mapping[str, Tensor] | None:
    """What the record says the weights are, lazily; None if a parent is not given."""
    states = aligned_states(subject)
    if states is None:
        return None
    return states[0] if made.operation == "align" else LazyAverage(states, made.weights)


def _unexcused(made: Provenance, excused: set[str]) -> Iterator[Finding]:
    """A record may not excuse tensors that its operation does not recompute."""
    allowed = made.statistics == "repaired"
    for name in sorted(excused):
        if not allowed and not (made.statistics == "reset" and name.rpartition(".")[2] in _RUNNING):
            excused.discard(name)
            yield Finding(
                "parent.bytes",
                "error",
                name,
                f"is recorded as recomputed, which statistics '{made.statistics}' does not do",
                _REMAKE,
            )


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    one, other = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(one, other)


CHECKS = (recorded, exact, function)
