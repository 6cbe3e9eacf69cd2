"""Apply a permutation to a state dict, tensor by tensor. Pure: nothing is changed in place."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.symmetry.permutation import Permutation, check
from zooalign.symmetry.spec import Group, Member, PermutationSpec

__all__ = ["Permuted", "apply", "apply_to_tensor", "moves", "sources", "unit_positions"]


def apply(
    spec: PermutationSpec, permutation: Permutation, state_dict: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A new state dict in which every unit stands where the permutation puts it.

    Parameters
    ----------
    spec, permutation:
        The permutation must belong to the spec.
    state_dict:
        Tensors by name, of any dtype and device. Names the spec does not know are an error; names
        the state dict lacks are not (tied names are often left out of files).

    Returns
    -------
    A dict with the same keys. Tensors that do not move are the given ones, not copies.

    Raises
    ------
    SpecError
        If permutation, spec and state dict do not belong together.
    """
    check(spec, permutation)
    return dict(_moved(spec, permutation, state_dict))


def _moved(
    spec: PermutationSpec, permutation: Permutation, state: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    for name in state:
        yield name, apply_to_tensor(spec, permutation, name, state[name])


class Permuted(Mapping[str, Tensor]):
    """A state dict seen through a permutation: each tensor is read and moved when asked for."""

    def __init__(
        self, spec: PermutationSpec, permutation: Permutation, state: Mapping[str, Tensor]
    ) -> None:
        check(spec, permutation)
        self._spec, self._permutation, self._state = spec, permutation, state

    def __getitem__(self, name: str) -> Tensor:
        return apply_to_tensor(self._spec, self._permutation, name, self._state[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def apply_to_tensor(
    spec: PermutationSpec, permutation: Permutation, name: str, tensor: Tensor
) -> Tensor:
    """One tensor of a state dict, permuted; the tensor itself where nothing in it moves."""
    if name not in spec.shapes:
        raise SpecError(f"the spec knows no tensor '{name}': is this the architecture it is for?")
    if tuple(tensor.shape) != spec.shapes[name]:
        raise SpecError(
            f"'{name}' has shape {tuple(tensor.shape)}, the spec is for {spec.shapes[name]}"
        )
    for axes, index in sources(spec, permutation, name):
        if _still(index):
            continue
        where = torch.from_numpy(index).to(tensor.device)
        if len(axes) == 1:
            tensor = tensor.index_select(axes[0], where)
        else:
            front = tensor.movedim(axes, tuple(range(len(axes))))
            flat = front.reshape(index.size, *front.shape[len(axes) :]).index_select(0, where)
            tensor = flat.reshape(front.shape).movedim(tuple(range(len(axes))), axes).contiguous()
    return tensor


def moves(spec: PermutationSpec, permutation: Permutation, name: str) -> bool:
    """Whether anything in a tensor of the spec changes its place."""
    return any(not _still(index) for _, index in sources(spec, permutation, name))


def _still(index: np.ndarray) -> bool:
    return np.array_equal(index, np.arange(index.size))


def sources(
    spec: PermutationSpec, permutation: Permutation, name: str
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Where the positions of one tensor come from.

    Yields
    ------
    (axes, index): position ``k`` of the row-major flattening of ``axes`` takes what stood at
    ``index[k]``. The axes of different entries do not overlap.
    """
    members = spec.by_parameter.get(name, ())
    shape = spec.shapes[name]
    for axes in _components(members):
        extent = [shape[a] for a in axes]
        index = np.arange(int(np.prod(extent)))
        for group, member in members:
            if set(member.axes) <= set(axes):
                index = _step(index, axes, extent, group, member, permutation.indices[group.id])
        yield axes, index


def _components(members: tuple[tuple[Group, Member], ...]) -> list[tuple[int, ...]]:
    """Axes that some member ties together, in ascending order."""
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
    # Bring the member's own axes to the end, flattened; the others are rows.
    own = [axes.index(a) for a in member.axes]
    rest = [n for n in range(len(axes)) if n not in own]
    order = [*rest, *own]
    grid = index.reshape(extent).transpose(order)
    rows = grid.reshape(int(np.prod([extent[n] for n in rest])), -1)
    positions = unit_positions(group, member)
    moved = rows.copy()
    source = np.take_along_axis(positions, permutation[..., None], axis=-2)
    moved[:, positions.reshape(-1)] = rows[:, source.reshape(-1)]
    back = moved.reshape([extent[n] for n in order])
    return back.transpose(np.argsort(order)).reshape(-1)


def unit_positions(group: Group, member: Member) -> np.ndarray:
    """Positions of a member, of shape (*contexts, size, repetitions).

    Raises
    ------
    SpecError
        If the blocks do not give every unit in every context as many positions.
    """
    placed = _placed(member)
    count = np.zeros((*group.contexts, group.size), dtype=np.int64)
    for place, found in placed:
        count[place] += found.shape[-1]
    if count.size == 0 or count.min() != count.max() or not count.max():
        raise SpecError(
            f"group '{group.id}' at '{member.parameter}' axis {member.axis}: its positions do "
            "not cover every unit in every context equally often"
        )
    table = np.empty((*count.shape, int(count.max())), dtype=np.int64)
    filled = np.zeros_like(count)
    for place, found in placed:
        columns = filled[place][..., None] + np.arange(found.shape[-1])
        np.put_along_axis(table[place], columns, found, axis=-1)
        filled[place] += found.shape[-1]
    return table


def _placed(member: Member) -> list[tuple[tuple[slice, ...], np.ndarray]]:
    placed = []
    for block in member.blocks:
        place = tuple(slice(o.first, o.first + o.count) for o in block.over)
        placed.append(((*place, slice(block.first, block.first + block.count)), block.positions()))
    return placed
