"""Run a captured graph on a state dict, node by node, keeping no tensor longer than needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from zooalign.errors import SpecError
from zooalign.graph.capture import Capture

__all__ = ["Call", "called", "evaluate", "in_order", "live_bytes", "lockstep", "steps"]

_CPU = torch.device("cpu")
# Checks of what was traced, without an effect on values.
_SKIPPED = {"aten._assert_tensor_metadata.default", "aten._assert_async.msg"}
# A real tensor may lie in memory otherwise than its fake twin did when the module was traced; then
# `view` refuses what `reshape` copies. No write can be lost in the copy: where one operator sees
# what another wrote, the graph was made functional.
_ANY_LAYOUT: dict[Any, Any] = {torch.ops.aten.view.default: torch.ops.aten.reshape.default}

#: Runs an operator of the graph on the values of the nodes it reads.
Call = Callable[[fx.Node, Mapping[fx.Node, Any]], Any]


def steps(
    captured: Capture,
    state: Mapping[str, Tensor],
    inputs: Sequence[Any],
    *,
    dtype: torch.dtype | None = None,
    call: Call | None = None,
    skip: Callable[[fx.Node], bool] = lambda node: False,
) -> Iterator[tuple[fx.Node, Any]]:
    """Evaluate the graph, yielding every node with its value as soon as it is computed.

    Tensors of ``state`` are read when first used and dropped after their last use; inputs may be
    nested. With a ``dtype``, constants and every floating dtype named in the graph are of that one
    instead (for a check in float64). ``call`` runs operators in place of :func:`called`; those that
    ``skip`` names are not run.

    Yields
    ------
    Each node and its value: inputs and constants first, a parameter just before the first operator
    that reads it (never, where none does); the output node last, with a tuple of what the module
    returns (not of what it writes for the next call).
    A node that works in place may change a value later. The caller may write into the value of a
    node that is not a view before asking for the next node: later nodes see the change.
    """
    leaves = tree_leaves(tuple(inputs))
    device = next((x.device for x in leaves if isinstance(x, Tensor)), _CPU)
    remaining = {node: len(node.users) for node in captured.graph.nodes}
    values: dict[fx.Node, Any] = {}
    given = dict(zip(captured.inputs, leaves, strict=True))
    run: Call = call or (lambda node, known: called(node, known, dtype, device))
    for node in in_order(captured):
        if node.op == "placeholder":
            value = _placeholder(captured, node.name, state, given, device, dtype)
        elif node.op == "output":
            results: Any = node.args[0]
            value = tuple(fx.node.map_arg(results, lambda n: values[n]))
            value = value[: len(value) - len(captured.written)]
        elif node.op == "get_attr":
            value = getattr(captured.graph.owning_module, str(node.target))
        elif str(node.target) in _SKIPPED or skip(node):
            value = None
        else:
            value = run(node, values)
        values[node] = value
        yield node, value
        del value
        for used in node.all_input_nodes:
            remaining[used] -= 1
            if not remaining[used]:
                del values[used]
        if not remaining[node]:
            del values[node]


def in_order(captured: Capture) -> Iterator[fx.Node]:
    """The nodes in the order of :func:`steps`: each parameter as late as it can be read."""
    waiting = {
        node
        for node in captured.graph.nodes
        if node.op == "placeholder" and node.name in captured.parameters
    }
    for node in captured.graph.nodes:
        if node in waiting:
            continue
        for part in node.all_input_nodes:
            if part in waiting:
                waiting.remove(part)
                yield part
        yield node


def live_bytes(captured: Capture) -> int:
    """Bytes of the values that a run holds at one time, at most, parameters aside.

    A view counts as its values do.
    """
    remaining = {node: len(node.users) for node in captured.graph.nodes}
    sizes: dict[fx.Node, int] = {}
    live = most = 0
    for node in in_order(captured):
        if node.name not in captured.parameters:
            sizes[node] = _nbytes(node.meta.get("val"))
        live += sizes.get(node, 0)
        most = max(most, live)
        for used in node.all_input_nodes:
            remaining[used] -= 1
            if not remaining[used]:
                live -= sizes.get(used, 0)
        if not remaining[node]:
            live -= sizes.get(node, 0)
    return most


def _nbytes(value: Any) -> int:
    return sum(x.numel() * x.itemsize for x in tree_leaves(value) if isinstance(x, Tensor))


def called(
    node: fx.Node,
    values: Mapping[fx.Node, Any],
    dtype: torch.dtype | None = None,
    device: torch.device = _CPU,
    *,
    gradients: bool = False,
) -> Any:
    """Run one operator of a graph on the values of the nodes it reads.

    With a ``dtype``, every floating one it names is that one instead. With ``gradients``, they
    flow.
    """
    args = fx.node.map_arg(node.args, lambda n: values[n])
    kwargs = fx.node.map_arg(dict(node.kwargs), lambda n: values[n])
    operator: Any = _ANY_LAYOUT.get(node.target, node.target)
    with torch.set_grad_enabled(gradients):  # not across a yield: it would apply to the caller too
        return operator(*_placed(args, dtype, device), **_placed(kwargs, dtype, device))


def evaluate(
    captured: Capture,
    state: Mapping[str, Tensor],
    inputs: Sequence[Any],
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Any, ...]:
    """The outputs of the captured computation, flat, on a state dict."""
    result: tuple[Any, ...] = ()
    for node, value in steps(captured, state, inputs, dtype=dtype):
        if node.op == "output":
            result = value
    return result


def lockstep(
    captured: Capture,
    states: Sequence[Mapping[str, Tensor]],
    inputs: Sequence[Any],
) -> Iterator[tuple[fx.Node, tuple[Any, ...]]]:
    """Evaluate several state dicts side by side: every node with one value per state dict."""
    runs = [steps(captured, state, inputs) for state in states]
    for step in zip(*runs, strict=True):
        yield step[0][0], tuple(value for _, value in step)


def _placeholder(
    captured: Capture,
    name: str,
    state: Mapping[str, Tensor],
    given: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype | None,
) -> Any:
    if name in given:
        return given[name]
    if name in captured.parameters:
        parameter = captured.parameters[name]
        parameter = parameter if parameter in state else _other_name(captured, parameter, state)
        return state[parameter].to(device)
    value = captured.constants[name]
    if value is None:
        raise SpecError(
            f"constant '{name}' of the graph has no value: the module was captured on the meta "
            "device. Capture it from a module whose buffers hold their values."
        )
    floating = dtype is not None and value.is_floating_point()
    return value.to(device=device, dtype=dtype if floating else value.dtype)


def _other_name(captured: Capture, parameter: str, state: Mapping[str, Tensor]) -> str:
    first = captured.tied.get(parameter, parameter)
    for name in (first, *(n for n, f in captured.tied.items() if f == first)):
        if name in state:
            return name
    raise SpecError(f"the state dict has no '{parameter}', which the captured graph reads")


def _placed(value: Any, dtype: torch.dtype | None, device: torch.device) -> Any:
    """Arguments with devices and (if asked for) floating dtypes replaced."""
    if isinstance(value, torch.device):
        return device
    if isinstance(value, torch.dtype):
        return dtype if dtype is not None and value.is_floating_point else value
    if isinstance(value, (list, tuple)):
        return type(value)(_placed(v, dtype, device) for v in value)
    if isinstance(value, dict):
        return {k: _placed(v, dtype, device) for k, v in value.items()}
    return value
