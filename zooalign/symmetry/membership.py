"""Is a permutation of one spec also one of another: does it move every tensor in the same way?"""

import numpy as np
import torch

from zooalign.errors import SpecError
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["is_member"]


def is_member(spec: PermutationSpec, other: PermutationSpec, moved: Permutation) -> bool:
    """Whether a permutation of ``other`` moves all tensors as some permutation of ``spec`` does."""
    found = _read(spec, other, moved)
    return found is not None and _moves_alike(spec, found, other, moved)


def _moves_alike(
    spec: PermutationSpec, first: Permutation, other: PermutationSpec, second: Permutation
) -> bool:
    """Whether two permutations, of two specs for the same tensors, do the same to each of them."""
    return all(
        torch.equal(
            spec.apply_to_tensor(first, name, _numbers(shape)),
            other.apply_to_tensor(second, name, _numbers(shape)),
        )
        for name, shape in spec.shapes.items()
        if name in spec.by_parameter or name in other.by_parameter
    )


def _read(spec: PermutationSpec, other: PermutationSpec, moved: Permutation) -> Permutation | None:
    """The permutation of ``spec`` that does what ``moved`` does at each first place."""
    indices: dict[str, np.ndarray] = {}
    sources: dict[str, np.ndarray] = {}
    for group in spec.groups:
        member = group.members[0]
        if member.parameter not in sources:
            shape = spec.shapes[member.parameter]
            numbers = other.apply_to_tensor(moved, member.parameter, _numbers(shape))
            sources = {member.parameter: numbers.numpy()}
        index = _units(spec, group, member, sources[member.parameter])
        if index is None:
            return None
        indices[group.id] = index
    result = Permutation(spec.hash, indices)
    try:
        spec.check(result)
    except SpecError:
        return None
    return result


def _units(
    spec: PermutationSpec, group: Group, member: Member, source: np.ndarray
) -> np.ndarray | None:
    """Which unit stands in the place of each, by the numbers of the positions they come from."""
    shape = spec.shapes[member.parameter]
    rest = [axis for axis in range(len(shape)) if axis not in member.axes]
    extent = [shape[axis] for axis in member.axes]
    first = source.transpose(*member.axes, *rest).reshape(int(np.prod(extent)), -1)[:, 0]
    old = np.ravel_multi_index(
        [np.unravel_index(first, shape)[axis] for axis in member.axes], extent
    )
    positions = member.positions(group)[..., 0]
    unit_at = np.full(int(np.prod(extent)), -1)
    every = member.positions(group)
    unit_at[every] = np.arange(group.size)[:, None]
    index: np.ndarray = unit_at[old[positions]]
    return None if (index < 0).any() else index


def _numbers(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(int(np.prod(shape))).reshape(shape)
