"""Rearrange one tensor by its members. Pure: nothing is changed in place."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.permutation import Permutation

__all__ = ["gathered", "is_still", "rearranged", "sources"]

Members = Sequence[tuple[Group, Member]]


def rearranged(tensor: Tensor, members: Members, permutation: Permutation) -> Tensor:
    """The tensor permuted; the tensor itself where nothing in it moves.

    Outer groups come in ``members`` before the groups nested in them.
    """
    for axes, index in sources(tuple(tensor.shape), members, permutation):
        if not is_still(index):
            tensor = gathered(tensor, axes, index)
    return tensor


def gathered(tensor: Tensor, axes: tuple[int, ...], index: np.ndarray) -> Tensor:
    """The tensor with ``index[k]`` of the flattened ``axes`` at position ``k``."""
    where = torch.from_numpy(index).to(tensor.device)
    if len(axes) == 1:
        return tensor.index_select(axes[0], where)
    front = tensor.movedim(axes, tuple(range(len(axes))))
    flat = front.reshape(index.size, *front.shape[len(axes) :]).index_select(0, where)
    return flat.reshape(front.shape).movedim(tuple(range(len(axes))), axes).contiguous()


def is_still(index: np.ndarray) -> bool:
    """Whether an index puts everything where it was."""
    return np.array_equal(index, np.arange(index.size))


def sources(
    shape: tuple[int, ...], members: Members, permutation: Permutation
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Where the positions of one tensor come from.

    Yields
    ------
    (axes, index): position ``k`` of the row-major flattening of ``axes`` takes what stood at
    ``index[k]``. The axes of different entries do not overlap.
    """
    for axes in _components(members):
        extent = [shape[a] for a in axes]
        index = np.arange(int(np.prod(extent)))
        for group, member in members:
            if set(member.axes) <= set(axes):
                index = _step(index, axes, extent, group, member, permutation.indices[group.id])
        yield axes, index


def _components(members: Members) -> list[tuple[int, ...]]:
    """Axes that share a member, in ascending order."""
    components: list[set[int]] = []
    for _, member in members:
        joined = set(member.axes)
        apart = []
        for component in components:
            if component & joined:
                joined |= component
            else:
                apart.append(component)
        components = [*apart, joined]
    return [tuple(sorted(c)) for c in components]


def _step(
    index: np.ndarray,
    axes: tuple[int, ...],
    extent: list[int],
    group: Group,
    member: Member,
    permutation: np.ndarray,
) -> np.ndarray:
    """Apply one group at one member to an index over ``axes``."""
    # Bring the member's axes to the end, flattened; the others are rows.
    member_axes = [axes.index(a) for a in member.axes]
    rest = [n for n in range(len(axes)) if n not in member_axes]
    order = [*rest, *member_axes]
    grid = index.reshape(extent).transpose(order)
    rows = grid.reshape(int(np.prod([extent[n] for n in rest])), -1)
    positions = member.positions(group)
    moved = rows.copy()
    source = np.take_along_axis(positions, permutation[..., None], axis=-2)
    moved[:, positions.reshape(-1)] = rows[:, source.reshape(-1)]
    back = moved.reshape([extent[n] for n in order])
    return back.transpose(np.argsort(order)).reshape(-1)
