"""Which axes of tensors are one axis, position by position, with an output's or each other's."""

from collections.abc import Iterable, Iterator

from zooalign.graph.build import Traced
from zooalign.graph.index_sets import Axis
from zooalign.graph.operator import Tensor

__all__ = ["Place", "axes_like", "axes_of_outputs"]

# An axis of a tensor of the state dict.
Place = tuple[str, int]


def axes_of_outputs(traced: Traced, size: int) -> tuple[Place, ...]:
    """The axes of tensors that are, position by position, an axis of ``size`` of an output."""
    (output,) = (node for node in traced.captured.graph.nodes if node.op == "output")
    count = len(output.args[0]) - len(traced.captured.written)
    values = (traced.values.get(getattr(node, "name", "")) for node in output.args[0][:count])
    axes = [
        axis
        for value in values
        if isinstance(value, Tensor)
        for axis, length in zip(value.axes, value.shape, strict=True)
        if length == size
    ]
    return tuple(_alike(traced, axes))


def axes_like(traced: Traced, places: Iterable[Place]) -> tuple[Place, ...]:
    """These axes of tensors, and all that are one of them position by position."""
    axes = [traced.stored[name].axes[axis] for name, axis in places if name in traced.stored]
    return tuple(_alike(traced, axes))


def _alike(traced: Traced, axes: Iterable[Axis]) -> Iterator[Place]:
    def sets_of(axis: Axis) -> tuple[int, ...]:
        return tuple(traced.sets.find(atom) for atom in axis)

    wanted = {sets_of(axis) for axis in axes if axis}
    for name, tensor in traced.stored.items():
        for number, axis in enumerate(tensor.axes):
            if sets_of(axis) in wanted:
                yield name, number
