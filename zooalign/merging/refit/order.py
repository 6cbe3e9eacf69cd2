"""A captured graph in an order in which the other branch of a residual sum comes first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from zooalign.graph.capture import Capture
from zooalign.graph.exported import writes

__all__ = ["depends_on", "reordered"]


def reordered(captured: Capture, first: Mapping[fx.Node, fx.Node]) -> Capture:
    """The same computation, with ``first[node]`` computed before each ``node`` named there.

    Operators that work in place give way to those that return the same. What they change is read
    by nothing else (:mod:`zooalign.graph.exported`); where there is no such operator, the order
    stays.
    """
    nodes = list(captured.graph.nodes)
    if any(writes(node) and _plain(node) is None for node in nodes):
        return captured
    copies: dict[fx.Node, fx.Node] = {}
    graph = fx.Graph(captured.graph.owning_module)

    def copied(node: fx.Node) -> None:
        copy = graph.node_copy(node, lambda argument: copies[argument])
        copy.name, copy.meta = node.name, dict(node.meta)
        if writes(node):
            copy.target = _plain(node)
        copies[node] = copy

    for node in nodes:
        if node.op == "placeholder":
            copied(node)
    for node in nodes:
        waiting = [node]
        while waiting:
            last = waiting[-1]
            needed = [*last.all_input_nodes, *([first[last]] if last in first else [])]
            missing = [n for n in needed if n not in copies]
            waiting += missing
            if not missing:
                waiting.pop()
                if last not in copies:
                    copied(last)
    return replace(captured, graph=graph)


def depends_on(node: fx.Node, ancestor: fx.Node, first: Mapping[fx.Node, fx.Node]) -> bool:
    """Whether a node cannot be computed before another."""
    seen: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        last = waiting.pop()
        if last is ancestor:
            return True
        if last not in seen:
            seen.add(last)
            waiting += [*last.all_input_nodes, *([first[last]] if last in first else [])]
    return False


def _plain(node: fx.Node) -> Any:
    """The operator that returns what this one writes in place; None where there is none."""
    name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(packet, overload, None)
