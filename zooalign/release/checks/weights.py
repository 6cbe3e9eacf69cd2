"""The weights against the architecture: readable, complete, of the right form, finite."""

from collections.abc import Iterator

from torch import Tensor

from zooalign.release import layout
from zooalign.release.assemble import digest_of
from zooalign.release.findings import Finding, check_of
from zooalign.release.subject import Subject
from zooalign.zoo.building import tied_names
from zooalign.zoo.checkpoint import find_nonfinite

__all__ = ["CHECKS"]

_COUNTER = "num_batches_tracked"


@check_of("weights.readable", "the files of weights are whole and well formed")
def readable(subject: Subject) -> Iterator[Finding]:
    """Truncated and malformed files are found by their headers."""
    if subject.unreadable is not None:
        yield Finding(
            "weights.readable",
            "error",
            str(subject.directory),
            subject.unreadable,
            "download or write the files again",
        )


@check_of("weights.keys", "the tensors' names are the architecture's", "weights")
def keys(subject: Subject) -> Iterator[Finding]:
    """A tied parameter may be stored under one of its names."""
    expected = [k for k, v in subject.module.state_dict().items() if isinstance(v, Tensor)]
    aliases = {name: group for group in tied_names(subject.module) for name in group}
    for name in expected:
        stored = any(alias in subject.checkpoint for alias in (name, *aliases.get(name, ())))
        if not stored and name.rpartition(".")[2] != _COUNTER:
            yield Finding(
                "weights.keys",
                "error",
                name,
                "the architecture has this tensor, the checkpoint does not",
                "save the model's whole state dict, or correct the configuration",
            )
    known = set(expected)
    for name in subject.checkpoint:
        if name not in known:
            yield Finding(
                "weights.keys",
                "error",
                name,
                f"the architecture has no such tensor (in {subject.checkpoint.layout[name]})",
                "remove it, or correct the configuration",
            )


@check_of("weights.shapes", "the tensors' shapes are the architecture's", "weights")
def shapes(subject: Subject) -> Iterator[Finding]:
    """Shapes are read from the headers."""
    for name, tensor in subject.module.state_dict().items():
        if name in subject.checkpoint and isinstance(tensor, Tensor):
            found = subject.checkpoint.shape(name)
            if found != tuple(tensor.shape):
                yield Finding(
                    "weights.shapes",
                    "error",
                    name,
                    f"has shape {found}, the architecture's is {tuple(tensor.shape)}",
                    "correct the configuration (number of classes, image size), or the checkpoint",
                )


@check_of("weights.dtypes", "floats are floats and counters are integers", "weights")
def dtypes(subject: Subject) -> Iterator[Finding]:
    """Any precision will do; a float in place of an integer (or the reverse) will not."""
    for name, tensor in subject.module.state_dict().items():
        if name in subject.checkpoint and isinstance(tensor, Tensor):
            found = subject.checkpoint.dtype(name)
            kinds = (found.is_floating_point, found.is_complex)
            if kinds != (tensor.dtype.is_floating_point, tensor.dtype.is_complex):
                yield Finding(
                    "weights.dtypes",
                    "error",
                    name,
                    f"is {found}, the architecture's is {tensor.dtype}",
                    "save it in a dtype of the same kind",
                )


@check_of("weights.finite", "no NaN and no infinity", "weights")
def finite(subject: Subject) -> Iterator[Finding]:
    """Every value is looked at."""
    for name in find_nonfinite(subject.checkpoint, limit=100):
        yield Finding(
            "weights.finite",
            "error",
            name,
            f"holds NaN or infinity (in {subject.checkpoint.layout.get(name, '')})",
            "make it again from parents that are finite",
        )


@check_of("weights.digests", "every tensor is the one that was written", "weights")
def digests(subject: Subject) -> Iterator[Finding]:
    """Finds a tensor that was changed after the release was made, by accident that is."""
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


CHECKS = (readable, keys, shapes, dtypes, finite, digests)
