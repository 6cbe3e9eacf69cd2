"""The tensors in what a module returns."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

__all__ = ["named_tensors", "tensors"]


def named_tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor in a value that PyTorch knows as a tree, with its place.

    Mappings of any class count as trees (the outputs of transformers are such), objects that are
    not registered as one do not. Places are such as ``0``, ``logits``, ``aux.1``, below ``name``,
    the place of the value itself.

    Examples
    --------
    >>> import torch
    >>> [name for name, _ in named_tensors({"logits": torch.ones(2), "aux": [None, torch.ones(1)]})]
    ['logits', 'aux.1']
    """
    if isinstance(value, Tensor):
        return [(name, value)]
    return [
        leaf
        for key, child in _children(value)
        for leaf in named_tensors(child, f"{name}.{key}" if name else str(key))
    ]


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a value that PyTorch knows as a tree, in order."""
    return [tensor for _, tensor in named_tensors(value)]


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    children = tree_flatten(value, is_leaf=lambda part: part is not value)[0]
    return () if len(children) == 1 and children[0] is value else enumerate(children)
