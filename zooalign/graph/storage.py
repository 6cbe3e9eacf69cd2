"""Which tensors of a module share memory: as one and the same tensor, or in another way.

Two names of one tensor are *tied*: they move together. Tensors that share memory in another way (a
weight and its transpose, a slice of a buffer) would have to be permuted by what is not known of
either alone, and a state dict can give them values that contradict each other. They are named, and
do not move. Parameters on the meta device have storages too, without memory.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["identity", "overlapping", "ties"]

# A mark for each element of a storage is a byte.
_MOST_MARKED = 2**28


def ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that are the same as an earlier one, with the first such name.

    Examples
    --------
    >>> weight = torch.ones(2, 3)
    >>> ties({"encoder": weight, "decoder": weight, "other": weight[:1]})
    {'decoder': 'encoder'}
    """
    first: dict[Hashable, str] = {}
    result: dict[str, str] = {}
    for name, tensor in tensors.items():
        known = first.setdefault(identity(tensor), name)
        if known != name:
            result[name] = known
    return result


def overlapping(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that share memory with another one that is not the same tensor.

    Each with the name of one such other; with its own name where its elements share memory among
    themselves (an expanded tensor).

    Examples
    --------
    >>> weight = torch.ones(2, 3)
    >>> overlapping({"encoder": weight, "decoder": weight.T, "other": torch.ones(2)})
    {'encoder': 'decoder', 'decoder': 'encoder'}
    """
    extents: dict[Hashable, dict[str, range]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided and tensor.numel():
            space, start = _address(tensor)
            extents[space][name] = range(start, start + _length(tensor))
    result = {
        name: name
        for names in extents.values()
        for name in names
        if _shares_with_itself(tensors[name])
    }
    same = ties(tensors)
    for names in extents.values():
        for one, other in _neighbours(names):
            tied = same.get(one, one) == same.get(other, other)
            if not tied and _meet(tensors[one], tensors[other]):
                result.setdefault(one, other)
                result.setdefault(other, one)
    return {name: result[name] for name in tensors if name in result}


def _address(tensor: Tensor) -> tuple[Hashable, int]:
    """The memory that a tensor lies in, and its first byte there.

    On the meta device, where every address is 0, that memory is the storage itself.
    """
    storage: Any = tensor.untyped_storage()
    if tensor.is_meta:
        return storage._cdata, int(tensor.storage_offset()) * tensor.itemsize
    return str(tensor.device), tensor.data_ptr()


def identity(tensor: Tensor) -> Hashable:
    """Equal for two tensors if they are one: the same elements of one memory, in one order."""
    if tensor.layout != torch.strided or not tensor.numel():
        return id(tensor)
    return (_address(tensor), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _length(tensor: Tensor) -> int:
    """Bytes from the first element to the last."""
    steps = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return (steps + 1) * tensor.itemsize


def _neighbours(extents: Mapping[str, range]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose bytes meet. One memory may hold all weights of a file."""
    before: list[str] = []
    for name in sorted(extents, key=lambda name: extents[name].start):
        before = [other for other in before if extents[other].stop > extents[name].start]
        yield from ((other, name) for other in before)
        before.append(name)


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors that lie in one memory have an element in common."""
    places = (_address(one)[1], _address(other)[1])
    base = min(places)
    end = max(place + _length(t) for place, t in zip(places, (one, other), strict=True)) - base
    size = one.itemsize
    if size != other.itemsize or end > _MOST_MARKED * size or (places[0] - places[1]) % size:
        return True
    marks = torch.zeros(end // size, dtype=torch.bool)
    _seen(marks, one, (places[0] - base) // size).fill_(True)
    return bool(_seen(marks, other, (places[1] - base) // size).any())


def _shares_with_itself(tensor: Tensor) -> bool:
    if not torch._debug_has_internal_overlap(tensor):  # 1: yes, 2: too hard to say
        return False
    if _length(tensor) > _MOST_MARKED * tensor.itemsize:
        return True
    marks = torch.zeros(_length(tensor) // tensor.itemsize, dtype=torch.bool)
    _seen(marks, tensor, 0).fill_(True)
    return int(marks.sum()) < tensor.numel()


def _seen(marks: Tensor, tensor: Tensor, offset: int) -> Tensor:
    return marks.as_strided(tensor.shape, tensor.stride(), offset)
