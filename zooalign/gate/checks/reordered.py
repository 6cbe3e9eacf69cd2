"""Weights without a record: are they a parent's in another order, and the right one?"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError, SpecError
from zooalign.gate.findings import Finding, check_of
from zooalign.matching import weight_matching
from zooalign.release.opened import OpenedRelease, Parent
from zooalign.symmetry import Permuted
from zooalign.symmetry.same_function import compare_functions

__all__ = ["CHECKS"]

_FIX = "permute every axis that the spec couples (zooalign spec), or use zooalign align"


@check_of(
    "parent.reordered",
    "a parent's weights in another order compute the parent's function",
    *("fit", "parents"),
)
def reordered(subject: OpenedRelease) -> Iterator[Finding]:
    """There is no provenance, every tensor holds exactly the values of a given parent's in some
    order, and the outputs are not the parent's: axes that belong together were not permuted
    together. The tensors that differ from what the best fitting permutation makes of the parent's
    are named; weights that are no reordering (a merge, a fine-tune) are not judged.

    Fix: permute every axis that the spec couples, or make the release with ``zooalign align``.
    """
    if subject.provenance is not None:  # then the record says what they should be
        return
    for parent in subject.parents:
        if all(_same_values(subject.state[n], parent.member.state[n]) for n in subject.state):
            yield from _judge(subject, parent)


def _judge(subject: OpenedRelease, parent: Parent) -> Iterator[Finding]:
    assert subject.model is not None
    of, state = parent.member.reference, parent.member.state
    try:
        found = compare_functions(
            subject.module, state, subject.state, subject.model.example_inputs()
        )
        if found.ok:
            return
        match = weight_matching(subject.derived_spec, subject.state, state)
    except (SpecError, MergeError) as error:
        yield Finding("parent.reordered", "error", subject.reference, str(error), _FIX)
        return
    yield Finding(
        "parent.reordered",
        "error",
        subject.reference,
        f"holds the values of {of} in another order and computes something else: relative error "
        f"{found.max_relative_error:.3g}, rounding explains {found.tolerance:.3g}",
        _FIX,
    )
    right = Permuted(subject.derived_spec, match.permutation, state)
    for name in _different(subject.state, right):
        yield Finding(
            "parent.reordered",
            "error",
            name,
            f"is not what the permutation that fits best makes of {of}'s: one of its axes was "
            "permuted without the axes coupled to it, or they without it",
            _FIX,
        )


def _different(state: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    return [n for n in state if not torch.equal(_bits(state[n]), _bits(right[n]))]


def _same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, each as often, bit for bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    one, other = _bits(a), _bits(b)
    return torch.equal(one, other) or np.array_equal(np.sort(one.numpy()), np.sort(other.numpy()))


def _bits(tensor: Tensor) -> Tensor:
    """The flat tensor as integers of its width: NaN and -0.0 are numbers like others."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(whole.get(flat.element_size(), torch.uint8))


CHECKS = (reordered,)
