"""The weights' values: finite, alive, tied where they were, and those that were written."""

from collections.abc import Iterator

import torch
from torch import Tensor

from zooalign.gate.findings import Finding, check_of
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.building import tied_names
from zooalign.zoo.checkpoint import find_nonfinite
from zooalign.zoo.writer import digest_of

__all__ = ["CHECKS"]


@check_of("weights.finite", "no NaN and no infinity", "values")
def finite(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor holds a NaN or an infinity. Every value is looked at.

    Fix: make the release again from parents that are finite.
    """
    for name in find_nonfinite(subject.checkpoint, limit=100):
        yield Finding(
            "weights.finite",
            "error",
            name,
            "holds NaN or infinity",
            "make it again from parents that are finite",
        )


@check_of("weights.digests", "every tensor is the one that was written", "values")
def digests(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor is not the one that was written: its SHA-256 is not the recorded one. This finds
    accidents; whoever changes a tensor on purpose can change the record too.

    Fix: make the release again.
    """
    recorded = subject.json(layout.DIGESTS)
    if recorded is None:
        return
    if not isinstance(recorded, dict):
        yield Finding("weights.digests", "error", layout.DIGESTS, "is not a JSON object")
        return
    for name in subject.checkpoint:
        if name not in recorded:
            yield Finding("weights.digests", "error", name, "has no recorded digest")
        elif digest_of(subject.checkpoint[name]) != recorded[name]:
            yield Finding(
                "weights.digests",
                "error",
                name,
                f"is not what was written: its SHA-256 differs from that in {layout.DIGESTS}",
                "make the release again",
            )


@check_of(
    "weights.constant",
    "no weight matrix is zero or constant",
    "values",
    severity="warning",
    parameters={"least_axes": 2, "allow": []},
)
def constant(subject: OpenedRelease) -> Iterator[Finding]:
    """All values of a tensor are equal: it was never trained, or lost when it was saved. Tensors
    of fewer axes than ``least_axes`` are not looked at (biases are often zero); ``allow`` lists
    parameters that are meant to be so.

    Fix: find out where it was lost; if it is meant, put it in ``allow``.
    """
    least = subject.setting("weights.constant", "least_axes")
    allowed = subject.setting("weights.constant", "allow")
    for name in subject.checkpoint:
        if name in allowed or len(subject.checkpoint.info(name).shape) < least:
            continue
        flat = subject.checkpoint[name].reshape(-1)
        if flat.numel() > 1 and _all_equal(flat):
            value = flat[0].item()
            what = "all zero" if value == 0 else f"constant ({value:.6g})"
            yield Finding(
                "weights.constant",
                "warning",
                name,
                f"is {what}: {flat.numel()} values of shape {subject.checkpoint.info(name).shape}",
                "look where it was lost, or allow it by name in the policy",
            )


@check_of("weights.tied", "tied weights are still tied", "values", "shapes")
def tied(subject: OpenedRelease) -> Iterator[Finding]:
    """The architecture has one parameter under two names, and the weights hold two different
    tensors under them: loading keeps one of both, whichever comes last.

    Fix: store the parameter once, or the same values under both names.
    """
    for group in tied_names(subject.module):
        first, *others = [name for name in group if name in subject.checkpoint] or [""]
        for other in others:
            if digest_of(subject.checkpoint[first]) != digest_of(subject.checkpoint[other]):
                yield Finding(
                    "weights.tied",
                    "error",
                    other,
                    f"is one parameter with {first} in the architecture, and holds other values",
                    "store the parameter once",
                )


def _all_equal(flat: Tensor) -> bool:
    if flat.dtype.itemsize == 1 and flat.is_floating_point():  # no comparison for 8-bit floats
        flat = flat.view(torch.uint8)
    if bool(flat[0] != flat[-1]) or bool(flat[0] != flat[flat.numel() // 2]):
        return False
    return bool((flat == flat[0]).all())


CHECKS = (finite, constant, tied, digests)
