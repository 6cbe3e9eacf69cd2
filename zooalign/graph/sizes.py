"""Inputs of another size: an axis of one position says little about an axis of several.

With a batch of one row, or a sequence of one token, a step that mixes units with positions may
look as if it did not (``h.mT.reshape(h.shape)``). So a module is traced at a second size along
such axes, where it takes one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from zooalign.graph.call_effects import attributes_restored
from zooalign.graph.exported import silent
from zooalign.graph.module_runner import evaluating

__all__ = ["Place", "enlarged", "single_axes", "takes"]

# (number of the tensor among the inputs' tensors, axis)
Place = tuple[int, int]

# Sizes that divide no axis of a parameter: then nothing fits by chance.
_SIZES = (3, 5, 7, 11, 13)


def single_axes(inputs: Sequence[Any]) -> tuple[Place, ...]:
    """The axes of one position of all tensors in the inputs."""
    tensors = [leaf for leaf in tree_flatten(tuple(inputs))[0] if isinstance(leaf, Tensor)]
    return tuple(
        (number, axis)
        for number, tensor in enumerate(tensors)
        for axis, size in enumerate(tensor.shape)
        if size == 1
    )


def enlarged(module: nn.Module, inputs: Sequence[Any], places: Sequence[Place]) -> tuple[Any, ...]:
    """The inputs with several positions, all alike, along the given axes.

    Examples
    --------
    >>> (x,) = enlarged(nn.Linear(4, 3), (torch.ones(1, 4),), [(0, 0)])
    >>> x.shape
    torch.Size([5, 4])
    """
    lengths = {n for parameter in module.parameters() for n in parameter.shape}
    size = next((n for n in _SIZES if all(length % n for length in lengths)), _SIZES[0])
    leaves, form = tree_flatten(tuple(inputs))
    number = 0
    for at, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            axes = [axis for tensor, axis in places if tensor == number]
            if axes:
                shape = [size if axis in axes else n for axis, n in enumerate(leaf.shape)]
                leaves[at] = leaf.expand(shape).contiguous()
            number += 1
    return tuple(tree_unflatten(leaves, form))


def takes(module: nn.Module, inputs: Sequence[Any], places: Sequence[Place]) -> tuple[Place, ...]:
    """Those axes along which the module takes several positions, tried without computing.

    Axes of one number (the batch of all inputs) are tried together, then each by itself.
    """
    kept: list[Place] = []
    for axis in sorted({axis for _, axis in places}):
        together = [place for place in places if place[1] == axis]
        alone = [[place] for place in together] if len(together) > 1 else []
        for tried in (together, *alone):
            new = [place for place in tried if place not in kept]
            if new and _runs(module, enlarged(module, inputs, [*kept, *new])):
                kept.extend(new)
    return tuple(kept)


def _runs(module: nn.Module, inputs: tuple[Any, ...]) -> bool:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    leaves, form = tree_flatten(inputs)
    fake: Callable[[Tensor], Tensor] = mode.from_tensor
    leaves = [fake(x.to(device)) if isinstance(x, Tensor) else x for x in leaves]
    try:
        with silent(), mode, torch.no_grad(), evaluating(module), attributes_restored(module):
            module(*tree_unflatten(leaves, form))
    except Exception:  # whatever it is, the module does not take them
        return False
    return True
