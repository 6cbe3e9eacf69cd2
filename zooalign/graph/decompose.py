"""Operators without a rule, written in operators that have one.

PyTorch defines many operators by others: ``hstack`` by ``cat``, ``tensordot`` by ``mm``. Where a
rule is missing and every part of such a decomposition has one, the parts take the operator's place
in the graph. Where one part has none, the operator stays whole, is frozen and named.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from zooalign.graph.capture import Capture
from zooalign.graph.exported import put_in_place, writes
from zooalign.graph.registry import OperatorRule, lookup

__all__ = ["decomposed"]

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


def decomposed(captured: Capture, rules: Mapping[str, OperatorRule]) -> Capture:
    """The same computation, with operators without a rule replaced by parts that all have one.

    ``captured`` is not changed, and returned where there is nothing to do.
    """
    if not any(_unknown(node, rules) for node in captured.graph.nodes):
        return captured
    graph = copy.deepcopy(captured.graph)
    for node in list(graph.nodes):
        if _unknown(node, rules):
            parts = _parts(node, rules, ())
            if parts is not None:
                _replace(graph, node, parts)
    return replace(captured, graph=graph)


def _unknown(node: fx.Node, rules: Mapping[str, OperatorRule]) -> bool:
    return isinstance(node.target, OpOverload) and lookup(rules, str(node.target)) is None


def _parts(
    node: fx.Node, rules: Mapping[str, OperatorRule], whole: tuple[OpOverload, ...]
) -> fx.Graph | None:
    """The parts of an operator; None where one of them is not known.

    ``whole`` are the operators that it is a part of.
    """
    graph = _traced(node)
    if graph is None:
        return None
    for part in list(graph.nodes):
        if part.op == "get_attr" or part.target in (node.target, *whole) or writes(part):
            return None  # a constant, a part of itself, or a write that another part may read
        if _unknown(part, rules):
            parts = _parts(part, rules, (*whole, node.target))  # type: ignore[arg-type]
            if parts is None:
                return None
            _replace(graph, part, parts)
    return graph


def _traced(node: fx.Node) -> fx.Graph | None:
    """PyTorch's decomposition on tensors of the node's shapes, which hold no values.

    Placeholders are the nodes that it reads, in the order of ``all_input_nodes``; it returns a
    list of its results.
    """
    function = _decomposition(node.target)
    read = node.all_input_nodes
    given = [_meta(part.meta.get("val")) for part in read]
    if function is None or writes(node) or any(value is None for value in given):
        return None

    def call(tensors: list[Tensor]) -> Any:
        known = dict(zip(read, tensors, strict=True))
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: known[n])
        return function(*args, **kwargs)

    try:
        with torch.no_grad():
            # Tensors created on the way are functional too, which torch.func.functionalize misses.
            return make_fx(dispatch_functionalize(call, FunctionalTensorMode()))(given).graph
    except Exception:  # whatever it is, there is no decomposition for this use
        return None


def _decomposition(target: Any) -> Callable[..., Any] | None:
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), _COMPOSITE)
    function: Callable[..., Any] | None
    function = target.decompose if composite else decomposition_table.get(target)
    return function


def _meta(value: Any) -> Tensor | None:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return None
    return torch.empty_strided(tuple(value.shape), value.stride(), dtype=value.dtype, device="meta")


def _replace(graph: fx.Graph, node: fx.Node, parts: fx.Graph) -> None:
    """Put the parts in the operator's place; they belong to the same layer."""
    keys = ("nn_module_stack", "stack_trace")
    layer: dict[str, Any] = {key: node.meta[key] for key in keys if key in node.meta}
    for part in put_in_place(graph, node, parts, node.all_input_nodes):
        part.meta.update(layer)
