"""Read a captured graph operator by operator and collect what it says about index sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import fx

from zooalign.graph.arguments import boolean, dense, named_arguments, unread_results
from zooalign.graph.capture import Capture
from zooalign.graph.carried import is_state
from zooalign.graph.choices import Choices
from zooalign.graph.concrete import decides
from zooalign.graph.constants import constant_axes, is_reordering
from zooalign.graph.decompose import decomposed
from zooalign.graph.exported import writes
from zooalign.graph.index_sets import Cause, IndexSets
from zooalign.graph.operator import Operator, Result, Tensor, Values
from zooalign.graph.registry import (
    OperatorRule,
    RuleFault,
    applied,
    knows_labels,
    lookup,
    roles_given,
)
from zooalign.graph.statement import Statement

__all__ = ["Traced", "trace"]


@dataclass(frozen=True)
class Traced:
    """A captured graph, in which operators without a rule are in parts, with its index sets.

    ``values`` has by name the tensor of every node that has one (a list for operators with several
    results), ``unused`` the state-dict names that no output depends on. ``unknown_operators`` are
    those without a rule, with how often they occur; what they touch is frozen. ``said`` is what the
    rules said about the values of each call, by node; nothing of calls whose rule gave no roles.
    ``also`` are the same network at other sizes, on the same index sets, ``rules`` those applied.
    """

    captured: Capture
    sets: IndexSets
    values: Mapping[str, Any]
    unused: tuple[str, ...]
    unknown_operators: Mapping[str, int]
    said: Mapping[str, "Said"] = field(default_factory=dict)
    also: tuple["Traced", ...] = ()
    rules: Mapping[str, OperatorRule] = field(default_factory=dict)

    @cached_property
    def stored(self) -> Mapping[str, Tensor]:
        """The state dict's tensors that an output depends on, by each of their names, in order."""
        captured = self.captured
        by_first_name: dict[str, Tensor] = {
            captured.tied.get(name, name): self.values[node]
            for node, name in captured.parameters.items()
            if self.values.get(node) is not None
        }
        first = {name: captured.tied.get(name, name) for name in captured.shapes}
        return {n: by_first_name[f] for n, f in first.items() if f in by_first_name}


@dataclass(frozen=True)
class Said:
    """What the rule of a call says about its values: the roles it gives, and its statements.

    ``formal`` are names of arguments of which only the shape or the type matters.
    """

    roles: str
    statements: tuple[Statement, ...]
    formal: frozenset[str] = frozenset()


def trace(
    captured: Capture, rules: Mapping[str, OperatorRule], also: Sequence[Capture] = ()
) -> Traced:
    """Apply the rules to every operator that an output depends on, in order.

    Inputs and outputs are fixed: their positions have a meaning outside the network. An operator
    without a rule is taken apart where every part has one
    (:func:`~zooalign.graph.decompose.decomposed`); any other (or whose rule fails) freezes all it
    touches and is named.

    ``also`` are captures of the same module on inputs of other sizes. What they say of the
    parameters holds too, so that only symmetries at all of these sizes are left.
    """
    captured = decomposed(captured, rules)
    sets = IndexSets()
    unknown: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}  # by the first name in the state dict
    said: dict[str, Said] = {}
    values = _read(captured, sets, tensors, rules, unknown, said)
    others: list[Traced] = []
    for other in also:
        other = decomposed(other, rules)
        more: dict[str, int] = {}
        words: dict[str, Said] = {}
        read = _read(other, sets, tensors, rules, more, words)
        others.append(Traced(other, sets, read, (), more, words, (), rules))
        unknown |= {name: max(count, unknown.get(name, 0)) for name, count in more.items()}
    sets.operator = "the solution of all relations"  # no operator states what follows
    first_names = {name: captured.tied.get(name, name) for name in captured.shapes}
    for node, name in captured.parameters.items():
        if first_names[name] in tensors:
            values.setdefault(node, tensors[first_names[name]])
    unused = tuple(
        n for n, shape in captured.shapes.items() if first_names[n] not in tensors and shape
    )
    return Traced(captured, sets, values, unused, unknown, said, tuple(others), rules)


def _read(
    captured: Capture,
    sets: IndexSets,
    tensors: dict[str, Tensor],
    rules: Mapping[str, OperatorRule],
    unknown: dict[str, int],
    said: dict[str, Said],
) -> dict[str, Any]:
    """The tensors of one graph by the names of its nodes."""
    values: dict[str, Any] = {}
    live = _live(captured)
    choices = Choices(captured.graph, captured.parameters, captured.inputs)
    for node in captured.graph.nodes:
        if node not in live:
            continue
        if node.op == "placeholder":
            values[node.name] = _placeholder(captured, sets, node, tensors)
        elif node.op == "output":
            outputs: Any = fx.node.map_arg(node.args[0], lambda n: values.get(n.name))
            _outputs(captured, sets, outputs, tensors)
        elif node.op == "call_function":
            known = _known_values(node, choices, captured.constants)
            op = _operator(sets, node, values, known)
            values[node.name] = _call(op, node, values, rules, unknown)
            said[node.name] = Said(op.roles, tuple(op.statements), frozenset(op.formal))
    return values


def _outputs(
    captured: Capture, sets: IndexSets, outputs: Sequence[Any], tensors: Mapping[str, Tensor]
) -> None:
    """What the network returns is fixed, and so is what it writes for the next call.

    What it writes to a tensor of the state dict moves with that tensor: the next call finds it in
    the order in which a permuted state dict holds it.
    """
    sets.operator = "output"
    count = len(outputs) - len(captured.written)
    for output in _flat(outputs[:count]):
        for axis in (*output.axes, output.labels):
            sets.fix(axis, Cause("output", "the network's output"))
    for name, value in zip(captured.written, outputs[count:], strict=True):
        stored = tensors.get(captured.tied.get(name, name))
        for output in _flat(value):
            if stored is None or stored.shape != output.shape:
                for axis in output.axes:
                    sets.fix(axis, Cause("output", f"what a call writes to '{name}'"))
            else:
                operator = Operator(sets, "aten.copy", name, {}, [output.shape])
                sets.operator = f"the next call, which reads '{name}'"
                operator.relate("*a, *a -> *a", stored, output)
            sets.fix(output.labels, Cause("index", f"numbers of positions written to '{name}'"))


def _placeholder(
    captured: Capture, sets: IndexSets, node: fx.Node, tensors: dict[str, Tensor]
) -> Tensor | None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    shape = tuple(int(n) for n in value.shape)
    sets.operator = node.name
    if node.name in captured.parameters:
        name = captured.parameters[node.name]
        name = captured.tied.get(name, name)
        if name in tensors:
            return tensors[name]
        other = captured.shared.get(name)
        together = Cause("shared memory", f"'{name}' and '{other}', which overlap")
        axes = [sets.axis(n, together if other else None) for n in shape]
        if not value.is_floating_point() and not value.is_complex():
            for axis in axes:  # numbers that name positions
                sets.fix(axis, Cause("index", f"the integer buffer '{name}'"))
        tensors[name] = Tensor(shape, sets.register(axes))
        return tensors[name]
    place = captured.places.get(node.name)
    if place is not None and is_state(place, captured.written, captured.shapes):
        state = Cause("state", f"'{place}', which a call leaves for the next")
        axes = [sets.axis(n, state) for n in shape]
    elif node.name in captured.constants:
        axes = constant_axes(sets, shape, captured.constants[node.name], node.name)
    else:
        axes = [sets.axis(n, Cause("input", f"the network's input '{node.name}'")) for n in shape]
    return Tensor(shape, sets.register(axes))


def _operator(sets: IndexSets, node: fx.Node, values: Mapping[str, Any], known: Values) -> Operator:
    args: Any = fx.node.map_arg(node.args, lambda n: values.get(n.name))
    kwargs = fx.node.map_arg(dict(node.kwargs), lambda n: values.get(n.name))
    arguments = named_arguments(node, args, kwargs)
    sets.operator = f"{node.target} '{node.name}'"
    shapes = _shapes(node.meta.get("val"))
    return Operator(sets, str(node.target), node.name, arguments, shapes, known)


def _call(
    op: Operator,
    node: fx.Node,
    values: Mapping[str, Any],
    rules: Mapping[str, OperatorRule],
    unknown: dict[str, int],
) -> Any:
    name, sets, shapes = op.name, op.sets, op.results
    if name == "<built-in function getitem>":
        args: Any = fx.node.map_arg(node.args, lambda n: values.get(n.name))
        return _item(sets, node, *args)
    if shapes and all(0 in shape for shape in shapes):  # nothing is computed
        return _values(node, [op.tensor([()] * len(shape), n) for n, shape in enumerate(shapes)])
    rule = lookup(rules, name)
    if rule is None:
        unknown[name] = unknown.get(name, 0) + 1
        return _values(node, op.freeze("operator not understood", name))
    if not shapes and not op.operands():
        return None
    if not knows_labels(rule):
        for tensor in op.operands():
            sets.fix(tensor.labels, op.cause("index", "a number of a position, used as a value"))
    op.roles = roles_given(rule, name)
    try:
        return _values(node, applied(rule, op))
    except RuleFault as fault:
        op.roles = ""
        op.statements.clear()
        unknown[name] = unknown.get(name, 0) + 1
        return _values(node, op.freeze("operator not understood", str(fault)))


def _values(node: fx.Node, result: Result) -> Result:
    """What a rule returned in the form of the node's value: one tensor, or several."""
    if isinstance(result, Sequence) and isinstance(node.meta.get("val"), torch.Tensor):
        return result[0]
    return result or None


def _item(sets: IndexSets, node: fx.Node, source: Any, number: int) -> Any:
    """One of several results; those that a rule does not give are frozen."""
    if isinstance(source, (list, tuple)):
        return source[number]
    if number == 0:
        return source
    sets.operator = str(node.args[0])
    op = Operator(sets, sets.operator, node.name, {"self": source}, _shapes(node.meta.get("val")))
    return op.freeze("operator not understood", f"result {number} of {sets.operator}")[0]


def _shapes(value: Any) -> list[tuple[int, ...]]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [tuple(int(n) for n in v.shape) for v in values if isinstance(v, torch.Tensor)]


def _known_values(
    node: fx.Node, choices: Choices, constants: Mapping[str, torch.Tensor | None]
) -> Values:
    """What the graph tells about the values of a call's operands."""
    arguments = named_arguments(node, node.args, node.kwargs)
    tensors = {name: _metas(value) for name, value in arguments.items()}
    return Values(
        boolean=boolean(tensors),
        dense=dense(tensors),
        ties=str(node.target) in _CHOOSE and choices.may_tie(node),
        order_is_seen=str(node.target) in _CHOOSE and choices.order_is_seen(node),
        overwritten=_overwritten(node),
        unread=unread_results(node),
        reorders=_reorders(arguments, constants),
    )


def _reorders(arguments: Mapping[str, Any], constants: Mapping[str, torch.Tensor | None]) -> bool:
    """Whether the only table of numbers among the arguments is a constant reordering."""
    indices = arguments.get("indices", arguments.get("index"))
    tables = [t for t in (indices if isinstance(indices, list | tuple) else [indices]) if t]
    return (
        len(tables) == 1 and isinstance(tables[0], fx.Node) and is_reordering(tables[0], constants)
    )


def _metas(value: Any) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    metas = [v.meta.get("val") for v in values if isinstance(v, fx.Node)]
    return [meta for meta in metas if isinstance(meta, torch.Tensor)]


_CHOOSE = {
    "aten.topk.default",
    "aten.argmax.default",
    "aten.argmin.default",
    "aten.max.dim",
    "aten.min.dim",
}
_WRITES = {f"aten.{name}" for name in ("copy", "fill", "zero", "uniform", "normal", "random")}
_VIEWS = {f"aten.{name}" for name in ("slice", "select", "view", "transpose", "permute", "alias")}
_PUTS = {f"aten.{name}" for name in ("slice_scatter", "select_scatter", "index_put", "scatter")}


def _overwritten(node: fx.Node) -> bool:
    """Whether all that happens to a value is that something is written over it, or into it."""

    def is_written(user: fx.Node) -> bool:
        name = str(user.target).rsplit(".", 1)[0].removesuffix("_")
        if any(part is node for part in user.all_input_nodes[1:]) or user.args[:1] != (node,):
            return False
        return name in _WRITES | _PUTS or (name in _VIEWS and _overwritten(user))

    return all(map(is_written, node.users))


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in _flat(v)]
    return []


def _live(captured: Capture) -> set[fx.Node]:
    """Nodes an output depends on, with the writes in place into one of them.

    What a call writes to a tensor of the state dict belongs to that tensor, read or not.
    """
    graph, live = captured.graph, set[fx.Node]()
    written = {captured.tied.get(name, name) for name in captured.written}
    # Values that Python read have decided how the graph goes on.
    stack = [
        node
        for node in graph.nodes
        if node.op == "output" or decides(node) or captured.parameters.get(node.name) in written
    ]
    changes = [node for node in graph.nodes if node.op == "call_function" and writes(node)]
    while stack:
        while stack:
            node = stack.pop()
            if node not in live:
                live.add(node)
                stack.extend(node.all_input_nodes)
        stack = [w for w in changes if w not in live and _base(w) & live]
    return live


def _base(node: fx.Node) -> set[fx.Node]:
    """What a write in place may change: the argument and what it is a view of."""
    chain: set[fx.Node] = set()
    while node.all_input_nodes and node.op == "call_function":
        node = node.all_input_nodes[0]
        chain.add(node)
    return chain
