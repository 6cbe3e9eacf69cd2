"""The weights against the architecture, by their headers: names, shapes, dtypes."""

from collections.abc import Iterator

from torch import Tensor

from zooalign.gate.findings import Finding, check_of
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.building import tied_names

__all__ = ["CHECKS"]

_COUNTER = "num_batches_tracked"


@check_of("weights.keys", "the tensors' names are the architecture's", "weights")
def keys(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor of the architecture is missing from the weights, or the weights hold one that it
    does not have. (A tied parameter may be stored under one of its names.)

    Fix: save the model's whole state dict, or correct the configuration.
    """
    expected = [k for k, v in subject.module.state_dict().items() if isinstance(v, Tensor)]
    aliases = {name: group for group in tied_names(subject.module) for name in group}
    for name in expected:
        stored = any(alias in subject.shapes for alias in (name, *aliases.get(name, ())))
        if not stored and name.rpartition(".")[2] != _COUNTER:
            yield Finding(
                "weights.keys",
                "error",
                name,
                "the architecture has this tensor, the checkpoint does not",
                "save the model's whole state dict, or correct the configuration",
            )
    known = set(expected)
    for name in subject.shapes:
        if name not in known:
            yield Finding(
                "weights.keys",
                "error",
                name,
                "the architecture has no such tensor",
                "remove it, or correct the configuration",
            )


@check_of("weights.shapes", "the tensors' shapes are the architecture's", "weights")
def shapes(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor has another shape than the configuration's architecture gives it.

    Fix: correct the configuration (number of classes, image size), or the weights.
    """
    for name, tensor in subject.module.state_dict().items():
        if name in subject.shapes and isinstance(tensor, Tensor):
            found = subject.shapes.info(name).shape
            if found != tuple(tensor.shape):
                yield Finding(
                    "weights.shapes",
                    "error",
                    name,
                    f"has shape {found}, the architecture's is {tuple(tensor.shape)}",
                    "correct the configuration (number of classes, image size), or the checkpoint",
                )


@check_of(
    "weights.dtypes",
    "floats are floats and counters are integers",
    "weights",
    parameters={"forbid": []},
)
def dtypes(subject: OpenedRelease) -> Iterator[Finding]:
    """A tensor is an integer where the architecture has a float, or the reverse. Any precision
    will do, but one that is in ``forbid`` (such as ``float8_e5m2``).

    Fix: save it in a dtype of the same kind.
    """
    forbidden = subject.setting("weights.dtypes", "forbid")
    for name, tensor in subject.module.state_dict().items():
        if name in subject.shapes and isinstance(tensor, Tensor):
            found = subject.shapes.info(name).dtype
            if str(found).removeprefix("torch.") in forbidden:
                yield Finding(
                    "weights.dtypes",
                    "error",
                    name,
                    f"is {found}, which the policy forbids",
                    "save it in another dtype",
                )
            kinds = (found.is_floating_point, found.is_complex)
            if kinds != (tensor.dtype.is_floating_point, tensor.dtype.is_complex):
                yield Finding(
                    "weights.dtypes",
                    "error",
                    name,
                    f"is {found}, the architecture's is {tensor.dtype}",
                    "save it in a dtype of the same kind",
                )


CHECKS = (keys, shapes, dtypes)
