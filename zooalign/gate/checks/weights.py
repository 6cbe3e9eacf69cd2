"""The weights against the architecture, by their headers: names, shapes, dtypes."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import Tensor

from zooalign.errors import SpecError
from zooalign.gate.findings import Problem, check
from zooalign.release.opened import OpenedRelease
from zooalign.symmetry import Element, Permutation, PermutationSpec
from zooalign.symmetry.training_only import as_long_as_moving, left_behind
from zooalign.zoo.building import tied_names

_COUNTER = "num_batches_tracked"


@check(
    "weights.keys",
    "the tensor names are those of the architecture",
    "weights",
    fix="save the model's whole state dict, or correct the configuration",
)
def keys(release: OpenedRelease) -> Iterator[Problem]:
    """The weights lack a tensor of the architecture, or hold one that the architecture does not
    have. (A tied parameter may be stored under any of its names.)
    """
    expected = dict(_tensors(release))
    aliases = {name: group for group in tied_names(release.module) for name in group}
    for name in expected:
        stored = any(alias in release.shapes for alias in (name, *aliases.get(name, ())))
        if not stored and name.rpartition(".")[2] != _COUNTER:
            yield Problem(name, "the architecture has this tensor, the checkpoint does not")
    for name in release.shapes:
        if name not in expected:
            yield Problem(
                name,
                "the architecture has no such tensor",
                "remove it, or correct the configuration",
            )


@check(
    "weights.shapes",
    "the tensor shapes are those of the architecture",
    "weights",
    fix="correct the configuration (number of classes, image size), or the checkpoint",
)
def shapes(release: OpenedRelease) -> Iterator[Problem]:
    """A tensor has another shape than in the architecture that the configuration gives."""
    for name, tensor in _stored_tensors(release):
        shape = release.shapes.info(name).shape
        if shape != tuple(tensor.shape):
            yield Problem(name, f"has shape {shape}, the architecture's is {tuple(tensor.shape)}")


@check(
    "weights.dtypes",
    "floats are stored as floats and integers as integers",
    "weights",
    fix="save it in a dtype of the same kind",
)
def dtypes(release: OpenedRelease, forbid: tuple[str, ...] = ()) -> Iterator[Problem]:
    """A tensor is an integer where the architecture has a float, or the reverse. Every precision is
    accepted but those listed in ``forbid`` (such as ``float8_e5m2``).
    """
    for name, tensor in _stored_tensors(release):
        dtype = release.shapes.info(name).dtype
        if str(dtype).removeprefix("torch.") in forbid:
            yield Problem(name, f"is {dtype}, which the policy forbids", "save it in another dtype")
        kind = (dtype.is_floating_point, dtype.is_complex)
        if kind != (tensor.dtype.is_floating_point, tensor.dtype.is_complex):
            yield Problem(name, f"is {dtype}, the architecture's is {tensor.dtype}")


@check(
    "weights.unused",
    "tensors that nothing reads do not lie beside units that were moved",
    *("spec", "provenance", "weights"),
    fix="name the class that has them in config.json and align again, or leave them out",
    severity="warning",
)
def unused(release: OpenedRelease) -> Iterator[Problem]:
    """An aligned or merged checkpoint has tensors that its class does not use (a pooler, another
    head), with an axis as long as one that was moved: they have the order from before.
    """
    shapes = {name: info.shape for name, info in release.shapes.unused.items()}
    if not shapes:
        return
    message = "is not used and was not moved, as units may be that it reads"
    for name in _left(release, partial(as_long_as_moving, shapes=shapes)):
        yield Problem(name, message, parameter=name)


@check(
    "weights.training",
    "parameters that only training reads do not lie beside units that were moved",
    *("spec", "provenance", "shapes"),
    fix="initialise them anew before training on, or leave them out",
    severity="warning",
)
def training(release: OpenedRelease) -> Iterator[Problem]:
    """An aligned or merged checkpoint has parameters that take part in training only (an auxiliary
    head, a mask token), and units that they meet there were moved: they have the order from before,
    or are an average over several orders.
    """
    inputs = release.model.example_inputs()
    message = "is read in training only and was not moved, as units are that it meets there"
    for name in _left(release, partial(left_behind, release.module, inputs=inputs)):
        yield Problem(name, message, parameter=name)


def _left(
    release: OpenedRelease, left: Callable[[PermutationSpec, Permutation], Iterable[str]]
) -> tuple[str, ...]:
    """The tensors that some recorded permutation leaves behind."""
    try:
        moved = [release.moved(a.permutation) for a in release.provenance.alignments]
    except SpecError:  # permutation.valid reports it
        return ()
    permutations = [m.touched if isinstance(m, Element) else m for m in moved]
    names = (name for permutation in permutations for name in left(release.spec, permutation))
    return tuple(dict.fromkeys(names))


def _tensors(release: OpenedRelease) -> Iterator[tuple[str, Tensor]]:
    for name, value in release.module.state_dict().items():
        if isinstance(value, Tensor):
            yield name, value


def _stored_tensors(release: OpenedRelease) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the architecture that the weights have, as the architecture has them."""
    return ((name, tensor) for name, tensor in _tensors(release) if name in release.shapes)
