"""Tensors that only training reads, beside units that a permutation moves.

A spec holds in eval mode. An auxiliary head or a mask token that only training reads is unused
there and keeps its order, while units that it goes with move: training on, it reads other units
than before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from zooalign.errors import TraceError
from zooalign.graph.build import Traced, trace
from zooalign.graph.capture import capture
from zooalign.graph.index_sets import Axis, IndexSets
from zooalign.graph.module_runner import in_mode
from zooalign.graph.operator import Operator, Tensor
from zooalign.graph.registry import OperatorRule, aten
from zooalign.operators.elementwise import same
from zooalign.symmetry.extract import operator_rules
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["as_long_as_moving", "left_behind"]

_PREFIX = "module."
# Reasons for which an axis is no row of units; any other may hide which units it goes with.
_MEANINGS = ("input", "output")


def left_behind(
    module: nn.Module, spec: PermutationSpec, permutation: Permutation, inputs: Sequence[Any]
) -> tuple[str, ...]:
    """Names of parameters that only training reads, in an order that a permutation changes.

    Training mode is traced for it, where a parameter is unused in eval mode. Where that fails,
    those are named that have an axis of the size of one that moves.
    """
    unused = [n for n in spec.unused if n not in spec.buffers]
    if not unused or permutation.is_identity:
        return ()
    moving = _moving(spec, permutation)
    try:
        with in_mode(module, training=True):
            captured = capture(_AsInTraining(module), inputs, allow_value_dependent=True)
    except TraceError:
        return as_long_as_moving(spec, permutation, {name: spec.shapes[name] for name in unused})
    traced = trace(captured, {**operator_rules(), **_IN_PLACE})
    axes = _axes(traced)
    units = {
        atom
        for name, axis in moving
        if name in axes
        for atom in _parts(traced.sets, axes[name][axis])
    }
    return tuple(name for name in unused if _goes_with(traced.sets, axes.get(name, ()), units))


def as_long_as_moving(
    spec: PermutationSpec, permutation: Permutation, shapes: Mapping[str, Sequence[int]]
) -> tuple[str, ...]:
    """Names of tensors with an axis as long as one that moves, where no trace says what they read.

    ``shapes`` are of tensors that the architecture does not have.
    """
    sizes = {spec.shapes[name][axis] for name, axis in _moving(spec, permutation)}
    return tuple(name for name, shape in shapes.items() if sizes & set(shape))


def _moving(spec: PermutationSpec, permutation: Permutation) -> set[tuple[str, int]]:
    """The parameters and axes that a permutation moves."""
    return {
        (name, member.axis)
        for name, members in spec.by_parameter.items()
        if spec.moves(permutation, name)
        for _, member in members
    }


def _goes_with(sets: IndexSets, axes: Sequence[Axis], units: set[int]) -> bool:
    """Whether a tensor has some of the units, or an axis of which that is not known."""
    for atom in (part for axis in axes for part in _parts(sets, axis)):
        cause = sets.fixed(atom)
        if atom in units or (cause is not None and cause.kind not in _MEANINGS):
            return True
    return False


def _parts(sets: IndexSets, axis: Axis) -> Iterator[int]:
    """The atoms of an axis, and those that are in its sums."""
    for digit in sets.digits(axis):
        yield digit
        if sets.is_sum(digit):
            yield from sets.inside(digit)


def _axes(traced: Traced) -> dict[str, tuple[Axis, ...]]:
    """The axes of every tensor of the state dict that training reads."""
    return {n.removeprefix(_PREFIX): tensor.axes for n, tensor in traced.stored.items()}


def _dropped(op: Operator) -> Tensor:
    """Units that are dropped at random, or not, are in their places."""
    return same(op, op.first())


_DROPOUTS = aten("dropout alpha_dropout feature_dropout feature_alpha_dropout")
_IN_PLACE: Mapping[str, OperatorRule] = dict.fromkeys(_DROPOUTS, _dropped)


class _AsInTraining(nn.Module):
    """A module that no mode changes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def train(self, mode: bool = True) -> "_AsInTraining":
        return self

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)
