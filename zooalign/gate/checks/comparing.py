"""What several checks compare a release with: the weights and outputs of its parents."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from zooalign.gate.findings import Problem
from zooalign.graph.dtypes import Rounded
from zooalign.merging.combine import combined
from zooalign.merging.named_rows import filled
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.symmetry.same_function import Comparison

__all__ = [
    "aligned_states",
    "differing_outputs",
    "expected_state",
    "explained",
    "parents_by_source",
]


def parents_by_source(release: OpenedRelease) -> dict[int, Parent]:
    """The given parents by their place in the recorded sources.

    The only parent given for an alignment counts as its source, whatever its files are.
    """
    parents = {p.index: p for p in release.parents if p.index is not None}
    if release.provenance.operation == "align" and not parents and len(release.parents) == 1:
        parents = {1: release.parents[0]}
    return parents


def aligned_states(release: OpenedRelease) -> list[Mapping[str, Tensor]] | None:
    """The sources of a merge, or the one of an alignment, permuted or mapped as recorded; lazily.

    None if one of them was not given.
    """
    provenance, parents = release.provenance, parents_by_source(release)
    permutations = {a.source: a.permutation for a in provenance.alignments}
    states: list[Mapping[str, Tensor]] = []
    for index in [1] if provenance.operation == "align" else range(len(provenance.sources)):
        if index not in parents:
            return None
        state: Mapping[str, Tensor] = parents[index].member.state
        if index in permutations:
            state = release.applied(permutations[index], state)
        states.append(state)
    if provenance.operation == "align":
        return states
    sources = [parents[index].member.sources for index in range(len(states))]
    return filled(states, sources, provenance.weights or ())


def expected_state(release: OpenedRelease) -> Mapping[str, Tensor] | None:
    """What the weights are by the record, lazily; None if a parent was not given."""
    states = aligned_states(release)
    if states is None:
        return None
    if release.provenance.operation == "align":
        return states[0]
    provenance = release.provenance
    how = provenance.weights if provenance.combination is None else provenance.combination
    dtype = provenance.dtype
    state = combined(states, how, dtype)
    return state if dtype is None else Rounded(state, dtype)


def differing_outputs(comparison: Comparison, whole: str, message: str) -> Iterator[Problem]:
    """One problem per output that differs; ``whole`` names an only output."""
    for name, error in comparison.outputs:
        if not error <= comparison.tolerance:  # a NaN differs
            where = f"output {name}" if name else whole
            yield Problem(where, f"{message}: {explained(error, comparison.tolerance)}")


def explained(error: float, tolerance: float) -> str:
    """An error beside what rounding can account for."""
    return f"relative error {error:.3g}, rounding explains {tolerance:.3g}"
