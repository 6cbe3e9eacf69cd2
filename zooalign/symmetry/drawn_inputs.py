"""Inputs drawn at random: real numbers any, integers as far as the graph shows what they number.

Token ids of an example are often all zero, which hides most of an embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from zooalign.graph.arguments import plain_name
from zooalign.graph.capture import Capture
from zooalign.graph.layouts import LAYOUTS

__all__ = ["drawn_inputs"]


def drawn_inputs(
    captured: Capture, example_inputs: Sequence[Any], seed: int, dtype: torch.dtype | None
) -> tuple[Any, ...]:
    """Inputs of the form of the examples, which may be nested.

    Real numbers are normal, in ``dtype`` (None: that of the example). Integers are drawn where
    operators take them as numbers of positions, which shows how many there are. All else, and
    all integers of a recorded run (they decided its way), is that of the examples.
    """
    leaves, tree = tree_flatten(tuple(example_inputs))
    limits = {} if captured.by_values else _limits(captured)
    generator = torch.Generator().manual_seed(seed + 1)
    names = captured.inputs if len(captured.inputs) == len(leaves) else [""] * len(leaves)
    metas = {n.name: n.meta.get("val") for n in captured.graph.nodes if n.op == "placeholder"}

    def drawn(name: str, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        # An example with one position along an axis may have been traced with more.
        meta = metas.get(name)
        shape = tuple(int(n) for n in (meta if isinstance(meta, Tensor) else x).shape)
        if x.is_floating_point():
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            return value.to(dtype or x.dtype)
        if name in limits:
            return torch.randint(limits[name], shape, generator=generator).to(x.dtype)
        return (
            torch.zeros(shape, dtype=x.dtype) if x.is_meta else _repeated(x.detach().cpu(), shape)
        )

    return tuple(tree_unflatten([drawn(n, x) for n, x in zip(names, leaves, strict=True)], tree))


def _repeated(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same positions again and again along axes that are longer."""
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            x = x.index_select(axis, torch.arange(size) % x.shape[axis])
    return x


def _limits(captured: Capture) -> Mapping[str, int]:
    """How many positions the integers of an input number, where the graph shows it."""
    limits: dict[str, int] = {}
    for node in captured.graph.nodes:
        if node.op != "placeholder" or node.name not in captured.inputs:
            continue
        value = node.meta.get("val")
        integer = isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)
        known = _counts(node) if integer else []
        if known:
            limits[node.name] = min(known)
    return limits


def _counts(source: fx.Node) -> list[int]:
    known, stack, seen = [], [source], {source}
    while stack:
        node = stack.pop()
        for user in node.users:
            count = _count(user, node)
            if count is not None:
                known.append(count)
            elif plain_name(user) in LAYOUTS and user not in seen:
                seen.add(user)
                stack.append(user)
    return known


def _count(user: fx.Node, numbers: fx.Node) -> int | None:
    """The number of positions that an operator lets these integers name."""
    base = str(user.target).rsplit(".", 1)[0]
    args: Any = user.args
    if base == "aten.embedding" and args[1] is numbers:
        return _size(args[0], 0)
    if base in ("aten.index_select", "aten.gather") and args[2] is numbers:
        return _size(args[0], args[1])
    if base == "aten.one_hot" and len(args) > 1:
        return int(args[1]) if args[1] > 0 else None
    if base == "aten.index" and numbers in args[1]:
        return _size(args[0], args[1].index(numbers))
    return None


def _size(node: Any, axis: int) -> int | None:
    value = node.meta.get("val")
    return int(value.shape[axis]) if isinstance(value, Tensor) and value.ndim else None
