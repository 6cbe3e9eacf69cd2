"""The weights against the parents given with ``--parent``: recomputed, byte for byte."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError, SpecError
from zooalign.gate.checks.comparing import (
    differing_outputs,
    expected_state,
    explained,
    parents_by_source,
)
from zooalign.gate.findings import Problem, check
from zooalign.graph.lazy_state import same_bytes
from zooalign.matching import match
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.symmetry import Element, Permuted
from zooalign.symmetry.precision import tolerance
from zooalign.symmetry.same_function import Comparison, compare_functions, compare_permuted
from zooalign.zoo.layout import CONFIG_NAME

_NEEDS = ("spec", "provenance", "weights", "fit", "parents")
_RUNNING = ("running_mean", "running_var")
_REMAKE = "make the release again from these parents"


@check(
    "parent.recorded",
    "the given parents are the recorded sources",
    *_NEEDS,
    fix="give the parent at the recorded commit, or use --recorded-parents",
)
def recorded(release: OpenedRelease) -> Iterator[Problem]:
    """A model given with ``--parent`` is not one of the recorded sources, by the SHA-256 of its
    files of weights.
    """
    sources = ", ".join(source.reference for source in release.sources)
    for parent in release.parents:
        if parent.index is None:
            yield Problem(
                parent.member.reference,
                f"its weights are not those of any recorded source ({sources})",
            )


@check(
    "parent.configuration",
    "the parents' configurations compute what the release's does",
    "parents",
    "shapes",
    fix="merge models of one configuration, or accept the fields (--allow-different-configs)",
)
def configuration(release: OpenedRelease) -> Iterator[Problem]:
    """A parent's configuration differs from the release's in a field that decides what is computed
    (an activation, an epsilon, a base of rotary positions): weights of equal shapes that were
    trained for another function. It is a note where the record says that the field was accepted.
    The parent that an alignment matched another to may differ.
    """
    recorded = release.provenance if release.has("provenance") else None
    accepted = str(recorded.settings.get("allow_different_configs", "")) if recorded else ""
    for parent in release.parents:
        if recorded is not None and recorded.operation == "align" and parent.index == 0:
            continue
        for name, (here, there) in parent.member.differing.items():
            noted = name in [field.strip() for field in accepted.split(",")]
            yield Problem(
                f"{CONFIG_NAME}: {name}",
                f"is {here}, and {there} in {parent.member.reference}",
                severity="note" if noted else None,
            )


@check(
    "parent.bytes",
    "the weights equal those recomputed from the parents",
    *_NEEDS,
    fix=_REMAKE,
)
def exact(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded permutations, applied to the parents and averaged with the recorded weights, do
    not give the bytes of this tensor. Tensors that the record says were recomputed on data are not
    compared; they must be tensors that the operation recomputes. (``--reproduce`` computes those of
    a refitted merge again.) ``permutation.applied`` says what
    went wrong if it is a known mistake.
    """
    provenance = release.provenance
    recomputed = set(provenance.recomputed)
    for name in sorted(recomputed):
        if not _may_be_recomputed(release, name):
            recomputed.discard(name)
            operation = f"statistics '{provenance.statistics}'"
            if provenance.refit is not None:
                operation += f" with the recorded refit ('{provenance.refit.method}')"
            yield Problem(name, f"is recorded as recomputed, which {operation} does not do")
    expected = expected_state(release)
    if expected is None:
        needed = "the source of the alignment"
        yield Problem(
            release.reference,
            "the weights could not be recomputed: a parent that they come from was not given",
            f"give --parent for {needed if provenance.operation == 'align' else 'every parent'}",
            "warning",
        )
        return
    for name in release.checkpoint:
        if name not in recomputed and not same_bytes(expected[name], release.checkpoint[name]):
            yield Problem(name, "differs from what the recorded permutations make of the parents")


def _may_be_recomputed(release: OpenedRelease, name: str) -> bool:
    """Whether the recorded operation changes a tensor.

    REPAIR and feature steps change any; least squares the weights of the layers that it lists as
    refitted, and the vectors (biases, normalisation) behind them; a reset only running statistics.
    """
    provenance = release.provenance
    if provenance.statistics == "repaired":
        return True
    if provenance.statistics == "reset" and name.rpartition(".")[2] in _RUNNING:
        return True
    refit = provenance.refit
    if refit is None or refit.method == "none":
        return False
    if refit.method == "features" or name in {i.name for i in refit.layers if i.reason is None}:
        return True
    return name in release.shapes and len(release.shapes.info(name).shape) <= 1


@check(
    "parent.function",
    "an aligned model computes the same function as its source",
    *_NEEDS,
    fix=_REMAKE,
)
def function(release: OpenedRelease) -> Iterator[Problem]:
    """On seeded random inputs, run in float64, an output of the aligned model differs from its
    source's by more than rounding explains at the lowest precision in the graph. Each output is
    reported separately. If ``parent.bytes`` finds nothing, the spec claims a symmetry that the
    architecture does not have: run ``zooalign verify``. It is only a note if the weights are the
    parent's permuted as recorded, and the spec is proved operator by operator: the network
    amplifies rounding, or draws numbers.
    """
    source = parents_by_source(release).get(1)
    if release.provenance.operation != "align" or source is None:
        return
    states, inputs = (source.member.state, release.state), release.model.example_inputs()
    moved = release.moved(release.provenance.alignments[0].permutation)
    if isinstance(moved, Element):
        comparison = _of_element(release, compare_functions(release.module, *states, inputs))
    elif _is_permuted(release):
        comparison = compare_permuted(release.module, release.spec, *states, inputs)
    else:
        comparison = compare_functions(release.module, *states, inputs)
    if comparison.proof:
        yield Problem(release.reference, comparison.proof, severity="note")
        return
    message = f"is not that of {source.member.reference}"
    yield from differing_outputs(comparison, release.reference, message)


def _of_element(release: OpenedRelease, comparison: Comparison) -> Comparison:
    """What an element makes of weights is rounded to their dtype, so outputs agree to that."""
    dtypes = {release.shapes.info(name).dtype for name in release.shapes}
    allowed = max(tolerance(dtype) for dtype in dtypes if dtype.is_floating_point)
    return replace(comparison, tolerance=max(comparison.tolerance, allowed))


def _is_permuted(release: OpenedRelease) -> bool:
    """Whether every tensor is the source's under the recorded permutation."""
    try:
        expected = expected_state(release)
        return expected is not None and all(
            same_bytes(expected[name], release.checkpoint[name]) for name in release.checkpoint
        )
    except (SpecError, MergeError, KeyError):
        return False


@check(
    "parent.reordered",
    "reordered weights of a parent compute the parent's function",
    *("fit", "parents"),
    fix="permute every axis that the spec couples (zooalign spec), or use zooalign align",
)
def reordered(release: OpenedRelease) -> Iterator[Problem]:
    """There is no provenance, every tensor holds exactly the values of a given parent's in some
    order, and the outputs are not the parent's: axes that belong together were not permuted
    together. The check names the tensors that differ from those of the permutation that fits
    best. Weights that are not a reordering (a merge, a fine-tuned model) are not judged.
    """
    if release.has("provenance"):  # then the record says what the weights should be
        return
    for parent in release.parents:
        if _same_values(release.state, parent.member.state):
            yield from _wrong_order(release, parent)


def _wrong_order(release: OpenedRelease, parent: Parent) -> Iterator[Problem]:
    name_of_parent, source = parent.member.reference, parent.member.state
    spec, inputs = release.derived_spec, release.model.example_inputs()
    comparison = compare_functions(release.module, source, release.state, inputs)
    if comparison.ok:
        return
    matched = match(spec, release.state, source, method="weight")
    best = Permuted(spec, matched.permutation, source)
    wrong = [name for name in release.state if not same_bytes(release.state[name], best[name])]
    if not wrong and compare_permuted(release.module, spec, source, best, inputs).ok:
        return
    yield Problem(
        release.reference,
        f"holds the values of {name_of_parent} in another order and computes something else: "
        + explained(comparison.max_relative_error, comparison.tolerance),
    )
    for name in wrong:
        yield Problem(
            name,
            f"is not what the permutation that fits best makes of {name_of_parent}'s: one of its "
            "axes was permuted without the axes coupled to it, or they without it",
        )


def _same_values(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether every tensor holds the same numbers in both, each as often, in any order."""

    def numbers(tensor: Tensor) -> np.ndarray:
        """As integers of the same width: NaN and -0.0 are numbers like any other."""
        integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        array: np.ndarray = flat.view(integers.get(flat.element_size(), torch.uint8)).numpy()
        return np.sort(array)

    def same(x: Tensor, y: Tensor) -> bool:
        if same_bytes(x, y):  # the common case, without sorting
            return True
        alike = x.dtype == y.dtype and x.shape == y.shape
        return alike and np.array_equal(numbers(x), numbers(y))

    return all(same(a[name], b[name]) for name in a)
