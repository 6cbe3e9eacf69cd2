"""A release without weights: what it makes of its parent."""

from collections.abc import Iterator

from zooalign.errors import CheckpointError, SpecError
from zooalign.gate.checks.comparing import explained
from zooalign.gate.checks.permutation import permutation_gaps
from zooalign.gate.findings import Problem, check
from zooalign.graph.lazy_state import LazyTensors
from zooalign.pipelines.apply import prove_parent
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.release.opening import derive_for
from zooalign.release.sources import source_of
from zooalign.symmetry.same_function import compare_permuted
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.models import Model, open_model


@check(
    "permutation.only",
    "a release without weights determines what is made of its parent",
    "provenance",
    fix="publish it again from the aligned directory, with --permutation-only",
)
def only(release: OpenedRelease) -> Iterator[Problem]:
    """The card has the tag ``permutation-only``, and the release is not an alignment, has weights
    all the same, or records no digests. With ``--parent``: the permuted parent has other digests,
    computes another function than the parent, or its architecture has another spec.
    """
    if not release.permutation_only:
        return
    operation = release.provenance.operation
    if operation != "align":
        message = f"is a {operation}, which takes more than one parent's weights"
        yield Problem(release.reference, message)
    elif any(name.endswith(".safetensors") for name in release.names):
        yield Problem(release.reference, "has weights, and its card says that it has none")
    elif not isinstance(release.json(layout.DIGESTS), dict):
        message = f"{layout.DIGESTS} is missing, so the weights that it makes cannot be checked"
        yield Problem(release.reference, message)
    elif release.has("spec") and release.has("parents"):
        try:
            message = _wrong_result(release, _parent(release))
        except (SpecError, CheckpointError) as error:
            message = str(error)
        if message:
            yield Problem(release.reference, message)


def _parent(release: OpenedRelease) -> Model:
    """The given parent that is the recorded source; the first one if none is."""
    alignments = release.provenance.alignments
    if not alignments:
        raise SpecError("records no alignment")
    recorded = release.sources[alignments[0].source].files
    parents = [open_model(r, model=release.request.model) for r in release.parent_references]
    return next((p for p in parents if source_of(p, "parent").files == recorded), parents[0])


def _wrong_result(release: OpenedRelease, parent: Model) -> str:
    """What ``spec.hash`` and ``parent.function`` would report of the weights; "" for nothing."""
    permuted = prove_parent(release, release.provenance, parent)
    assert parent.checkpoint is not None
    module = parent.build()
    accepted = release.accepts_value_dependent
    derived = derive_for(parent, module, allow_value_dependent=accepted).spec
    if derived.hash != release.spec.hash:
        gaps = permutation_gaps(release.spec, derived)
        first = next((f"{gap.where}: {gap.message}" for gap in gaps), "")
        return f"{layout.SPEC} is not the spec of the parent's architecture. {first}"
    before = state_dict_for(module, parent.checkpoint, where=parent.reference)
    infos = {name: parent.checkpoint.info(name) for name in parent.checkpoint}
    tensors = LazyTensors(infos, permuted.__getitem__)
    after = state_dict_for(module, tensors, where=release.reference)
    inputs = parent.example_inputs()
    comparison = compare_permuted(module, release.spec, before, after, inputs)
    if comparison.ok:
        return ""
    error = explained(comparison.max_relative_error, comparison.tolerance)
    return f"the permuted parent computes another function: {error}"
