"""The recorded permutations: valid, of every axis, and what made the weights."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import CheckpointError, MergeError, SpecError
from zooalign.gate.checks.parent import by_index, expected_of
from zooalign.gate.findings import Finding, check_of
from zooalign.gate.permutation_gaps import gaps
from zooalign.merging.interpolate import LazyAverage
from zooalign.pipelines.apply import is_permutation_only, prove_parent
from zooalign.release import layout
from zooalign.release.digests import digest_of
from zooalign.release.opened import OpenedRelease
from zooalign.release.opening import derive_for
from zooalign.release.provenance import Provenance
from zooalign.release.sources import source_of
from zooalign.symmetry import Permutation, Permuted
from zooalign.symmetry.same_function import compare_functions
from zooalign.zoo.checkpoint import LazyTensors
from zooalign.zoo.fitting import state_dict_for
from zooalign.zoo.models import Model, open_model

__all__ = ["CHECKS"]

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
    if not is_permutation_only(subject):
        return
    try:
        if made.operation != "align":
            raise SpecError(f"is a {made.operation}, which takes more than one parent's weights")
        if any(name.endswith(".safetensors") for name in subject.names):
            raise SpecError("has weights, and its card says that it has none")
        if not isinstance(subject.json(layout.DIGESTS), dict):
            raise SpecError(f"{layout.DIGESTS} is missing, so what is made cannot be checked")
        if subject.has("spec") and subject.has("parents"):
            parents = [open_model(r, model=subject.asked.model) for r in subject.parent_references]
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
