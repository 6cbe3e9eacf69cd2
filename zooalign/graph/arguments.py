"""The arguments of a call, by their names in the operator's schema."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

__all__ = ["boolean", "dense", "named_arguments", "plain_name", "unread_results"]


def named_arguments(
    node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Values for the arguments of a call, by their names in the operator's schema."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {**{f"argument{i}": a for i, a in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        else:
            named[argument.name] = argument.default_value if argument.has_default_value() else None
    return named


def plain_name(node: Any) -> str:
    """The operator without library, overload and the mark of writing in place: ``add``."""
    parts = str(node.target).split(".")
    return parts[1].removesuffix("_") if parts[0] == "aten" and len(parts) > 1 else ""


def boolean(tensors: Mapping[str, Sequence[torch.Tensor]]) -> frozenset[str]:
    """Names of the arguments that are boolean tensors, or lists of them."""
    return frozenset(n for n, all_of_it in tensors.items() if any(map(_is_boolean, all_of_it)))


def dense(tensors: Mapping[str, Sequence[torch.Tensor]]) -> frozenset[str]:
    """Names of the arguments that are all of their storage, row by row."""
    return frozenset(n for n, all_of_it in tensors.items() if any(map(_is_dense, all_of_it)))


def _is_boolean(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.bool


def _is_dense(tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided:
        return False
    size = tensor.untyped_storage().nbytes()
    return tensor.is_contiguous() and size == tensor.numel() * tensor.itemsize


def unread_results(node: fx.Node) -> frozenset[int]:
    """Numbers of those of several results that nothing reads."""
    value = node.meta.get("val")
    taken = all("getitem" in str(user.target) for user in node.users)
    if not isinstance(value, (list, tuple)) or not taken:
        return frozenset()
    read = {user.args[1] for user in node.users if user.users}
    return frozenset(range(len(value))) - read
