"""The weights' values: finite, trained, tied where the architecture ties them, as recorded."""

from collections.abc import Iterator

import torch
from torch import Tensor

from zooalign.gate.findings import Problem, check
from zooalign.graph.lazy_state import same_bytes
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.building import tied_names
from zooalign.zoo.checkpoint import find_nonfinite
from zooalign.zoo.writer import digest_of


@check(
    "weights.finite",
    "no tensor holds NaN or infinity",
    "values",
    fix="make the release again from parents whose weights are finite",
)
def finite(release: OpenedRelease) -> Iterator[Problem]:
    """A tensor holds NaN or infinity. Every value is read; at most 100 tensors are named."""
    for name in find_nonfinite(release.checkpoint, limit=100):
        yield Problem(name, "holds NaN or infinity")


@check(
    "weights.constant",
    "no weight matrix is zero or constant",
    "values",
    severity="warning",
    fix="find out where the values were lost; if they are meant to be so, list it in `allow`",
)
def constant(
    release: OpenedRelease, least_axes: int = 2, allow: tuple[str, ...] = ()
) -> Iterator[Problem]:
    """All values of a tensor are equal: it was never trained, or its values were lost when it was
    saved. Tensors with fewer than ``least_axes`` axes are ignored, as biases are often zero.
    ``allow`` lists parameters that are meant to be constant.
    """
    for name in release.checkpoint:
        shape = release.checkpoint.info(name).shape
        if name in allow or len(shape) < least_axes:
            continue
        flat = release.checkpoint[name].reshape(-1)
        if flat.numel() > 1 and _all_equal(flat):
            value = flat[0].item()
            kind = "all zero" if value == 0 else f"constant ({value:.6g})"
            yield Problem(name, f"is {kind}: {flat.numel()} values of shape {shape}")


@check(
    "weights.tied",
    "tied weights are still tied",
    *("values", "shapes"),
    fix="store the parameter once, or the same values under both names",
)
def tied(release: OpenedRelease) -> Iterator[Problem]:
    """The architecture has one parameter under two names, and the weights hold different tensors
    under them. Loading keeps whichever comes last.
    """
    for group in tied_names(release.module):
        first, *others = [name for name in group if name in release.checkpoint] or [""]
        for name in others:
            if not same_bytes(release.checkpoint[first], release.checkpoint[name]):
                yield Problem(
                    name,
                    f"is one parameter with {first} in the architecture, and holds other values",
                )


@check(
    "weights.digests",
    "every tensor has its recorded SHA-256",
    "values",
    fix="make the release again",
)
def digests(release: OpenedRelease) -> Iterator[Problem]:
    """The SHA-256 of a tensor is not the recorded one, so it is not the tensor that was written.
    This finds accidents; whoever changes a tensor on purpose can change the record too.
    """
    recorded = release.json(layout.DIGESTS)
    if recorded is None:
        return
    if not isinstance(recorded, dict):
        yield Problem(layout.DIGESTS, "is not a JSON object")
        return
    for name in release.checkpoint:
        if name not in recorded:
            yield Problem(name, "has no recorded digest")
        elif digest_of(release.checkpoint[name]) != recorded[name]:
            yield Problem(
                name, f"is not what was written: its SHA-256 differs from that in {layout.DIGESTS}"
            )


def _all_equal(flat: Tensor) -> bool:
    if flat.dtype.itemsize == 1 and flat.is_floating_point():  # torch cannot compare 8-bit floats
        flat = flat.view(torch.uint8)
    # Two comparisons settle it for almost every tensor that was trained.
    if bool(flat[0] != flat[-1]) or bool(flat[0] != flat[flat.numel() // 2]):
        return False
    return bool((flat == flat[0]).all())
