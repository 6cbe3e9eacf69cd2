"""The tensors in what a module takes or returns."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

__all__ = ["is_tree", "named_tensors", "results", "tensors"]

# Objects that hold no tensor of a result, though they have attributes.
_PLAIN = (
    *(nn.Module, type, Enum, ModuleType, FunctionType, BuiltinFunctionType, MethodType),
    *(torch.Generator, torch.dtype, torch.device),
)
_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)


def named_tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor in a value, with its place.

    Mappings of any class count as trees (the outputs of transformers are such), as do objects: a
    dataclass, a cache, a distribution. Places are such as ``0``, ``logits``, ``aux.1``, below
    ``name``, the place of the value itself.

    Examples
    --------
    >>> import torch
    >>> [name for name, _ in named_tensors({"logits": torch.ones(2), "aux": [None, torch.ones(1)]})]
    ['logits', 'aux.1']
    """
    return [(place, leaf) for place, leaf in _leaves(value, name, ()) if isinstance(leaf, Tensor)]


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a value, in order."""
    return [tensor for _, tensor in named_tensors(value)]


def results(value: Any) -> list[Any]:
    """Every tensor in a value, and every number that was computed while a module was traced."""
    return [leaf for _, leaf in _leaves(value, "", ()) if isinstance(leaf, (Tensor, *_SYMBOLS))]


def is_tree(value: Any) -> bool:
    """Whether PyTorch can look into a value: each tensor of it is a leaf of its tree.

    Examples
    --------
    >>> import torch
    >>> is_tree([torch.ones(2), {"mask": None}]), is_tree(torch.distributions.Normal(0.0, 1.0))
    (True, False)
    """
    leaves = tree_flatten(value)[0]
    return all(isinstance(leaf, Tensor) or not tensors(leaf) for leaf in leaves)


def _leaves(value: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    children = None if id(value) in above else _children(value)
    if children is None:
        yield name, value
        return
    for key, child in children:
        place = f"{name}.{key}" if name else str(key)
        yield from _leaves(child, place, (*above, id(value)))


def _children(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a value is made of; None for a leaf."""
    if isinstance(value, (Tensor, *_SYMBOLS)):
        return None
    if isinstance(value, Mapping):
        return value.items()
    children = tree_flatten(value, is_leaf=lambda part: part is not value)[0]
    if len(children) != 1 or children[0] is not value:
        return enumerate(children)
    if isinstance(value, _PLAIN):
        return None
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**held, **getattr(value, "__dict__", {})}.items() or None
