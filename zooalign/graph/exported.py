"""Capture by ``torch.export``, on fake tensors: no weight is read or allocated."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.export.graph_signature import InputKind, OutputKind, OutputSpec

from zooalign.errors import TraceError
from zooalign.graph.call_effects import (
    Repeated,
    attributes_restored,
    require_alike,
    returning_assigned,
)
from zooalign.graph.concrete import Recording
from zooalign.graph.module_runner import evaluating
from zooalign.graph.module_tensors import ModuleTensors
from zooalign.graph.storage import identity
from zooalign.text import first_line

__all__ = [
    "NotExported",
    "exported",
    "put_in_place",
    "require_calls_alike",
    "seen_elsewhere",
    "silent",
    "writes",
]

# Operators whose result never shares memory with what they read.
_FRESH = frozenset(
    {"aten.sum.dim_IntList", "aten.sum.default", "aten.mean.dim", "aten.amax.default"}
)


class NotExported(TraceError):
    """``torch.export`` cannot trace a module; a run with values perhaps can."""


def exported(
    module: nn.Module, inputs: tuple[Any, ...], tensors: ModuleTensors
) -> tuple[Recording, float]:
    """The graph of a module (in eval mode), and the seconds inside ``torch.export.export``.

    Raises
    ------
    NotExported
        If ``torch.export`` cannot trace it.
    TraceError
        If no graph can hold what it does.
    """
    on_meta = any(tensors.stored[name].is_meta for name in tensors.trainable)
    quiet = warnings.catch_warnings()
    # Without gradients, a no_grad inside the module adds no operator to the graph.
    with torch.no_grad(), evaluating(module), _on_meta(module, on_meta), quiet:
        warnings.simplefilter("ignore")
        with returning_assigned(module) as assigned:
            program, seconds = _program(module, inputs)
        program = _functional(module, program)
    returned, written = _outputs(program, assigned, tensors)
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    output.args = ((*returned, *written.values()),)
    _inline(program.graph_module)
    return _recording(program, tuple(written), tensors), seconds


def _program(
    module: nn.Module, inputs: tuple[Any, ...]
) -> tuple[torch.export.ExportedProgram, float]:
    try:
        start = perf_counter()
        with silent(), _without_stack_traces():
            program = torch.export.export(module, inputs, strict=False)
        seconds = perf_counter() - start
        if any(_is_function(node) for node in program.graph.nodes):  # torch.func, such as vmap
            program = program.run_decompositions({})
        for node in program.graph.nodes:
            if not _sized(node):
                raise ValueError(f"the shape of '{node.name}' depends on values")
            if _is_function(node):
                raise ValueError(f"'{node.name}' is not an operator: {node.target}")
        for name, value in program.constants.items():
            if isinstance(value, Tensor) and is_functorch_wrapped_tensor(value):
                raise ValueError(f"'{name}' was computed inside of torch.func")
    except Exception as error:
        raise NotExported(
            f"torch.export cannot trace {type(module).__name__} on inputs of shapes "
            f"{[tuple(x.shape) for x in inputs if isinstance(x, Tensor)]}: "
            f"{type(error).__name__}: {first_line(error)}. "
            "Check that the example inputs are those the model takes, and that its forward "
            "has no control flow that depends on values."
        ) from error
    return program, seconds


def require_calls_alike(
    module: nn.Module, inputs: tuple[Any, ...], tensors: ModuleTensors, kept: Sequence[str]
) -> None:
    """Raise TraceError if a second call takes other steps than the first, by what that ``kept``."""
    on_meta = any(tensors.stored[name].is_meta for name in tensors.trainable)
    graphs = []
    with torch.no_grad(), evaluating(module), _on_meta(module, on_meta), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for calls in (1, 2):
            with attributes_restored(module):
                program, _ = _program(Repeated(module, calls), inputs)
            graphs.append(program.graph)
    require_alike(module, graphs[0], graphs[1], kept[0])


def _functional(
    module: nn.Module, program: torch.export.ExportedProgram
) -> torch.export.ExportedProgram:
    """The program without writes in place that another operator, or the next call, may see."""
    order = {node: number for number, node in enumerate(program.graph.nodes)}
    if not any(seen_elsewhere(node, order) for node in order if writes(node)):
        return program
    try:
        functional: torch.export.ExportedProgram = program.run_decompositions({})
    except RuntimeError as error:
        if "is mutated in the forward method" not in str(error):
            raise
        raise TraceError(
            f"{type(module).__name__} writes in place to a tensor that is no buffer, for its next "
            f"call: {first_line(error)}. Register that tensor with register_buffer, so that it "
            "can be permuted with the units it holds"
        ) from error
    return functional


def _outputs(
    program: torch.export.ExportedProgram, assigned: Sequence[str], tensors: ModuleTensors
) -> tuple[list[Any], dict[str, Any]]:
    """What the module returns, and what it writes by name: in the state dict where it is there."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    returned: list[Any] = []
    written: dict[str, Any] = {}
    for value, spec in zip(output.args[0], program.graph_signature.output_specs, strict=True):
        if spec.kind == OutputKind.USER_OUTPUT:
            returned.append(value)
        else:
            written[_target(spec, tensors)] = value
    count = len(returned) - len(assigned)
    names = (tensors.stored_name.get(place, place) for place in assigned)
    return returned[:count], {**written, **dict(zip(names, returned[count:], strict=True))}


def _target(spec: OutputSpec, tensors: ModuleTensors) -> str:
    name = str(spec.target)
    if spec.kind == OutputKind.USER_INPUT_MUTATION:
        return f"input {name}"
    return tensors.stored_name.get(name, name)


def _recording(
    program: torch.export.ExportedProgram, written: tuple[str, ...], tensors: ModuleTensors
) -> Recording:
    parameters: dict[str, str] = {}
    constants: dict[str, Tensor | None] = {}
    held: dict[str, tuple[str, Tensor]] = {}
    places = {identity(tensor): place for place, tensor in tensors.others.items()}
    users: list[str] = []
    for spec in program.graph_signature.input_specs:
        name, target = spec.arg.name, str(spec.target)
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and target in tensors.stored_name:
            parameters[name] = tensors.stored_name[target]
        elif spec.kind == InputKind.USER_INPUT:
            users.append(name)
        else:
            # torch.export on meta would lose the values of buffers.
            value = tensors.others.get(target, program.constants.get(target))
            value = value if isinstance(value, Tensor) else None
            if value is not None:
                held[name] = (places.get(identity(value), target), value)
            constants[name] = None if value is None or value.is_meta else value.detach()
    return Recording(program.graph, parameters, constants, tuple(users), written, held)


def _is_function(node: torch.fx.Node) -> bool:
    return str(node.target).startswith("<function")


def _sized(node: torch.fx.Node) -> bool:
    """Whether all numbers of a tensor's shape are known."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(n, int) for v in values if isinstance(v, Tensor) for n in v.shape)


def writes(node: torch.fx.Node) -> bool:
    """Whether the operator changes one of its arguments in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def seen_elsewhere(write: torch.fx.Node, order: Mapping[torch.fx.Node, int]) -> bool:
    """Whether a write in place changes a tensor that any other operator may read.

    ``relu_`` on the fresh result of a convolution is only a function of it; so is a division of
    it by its sum, which was taken before. A write into a slice of a buffer is not: then the graph
    has to become functional first. ``order`` is that of the operators.
    """
    node = write
    while True:
        aliased = _aliased(node)
        if not aliased:
            return node.op != "call_function"  # a fresh tensor, or one given from outside
        user = node
        node, *others = aliased
        if others or not isinstance(node, torch.fx.Node):
            return True
        for other in node.users:
            before = order[other] < order[write] and str(other.target) in _FRESH
            if other is not user and not before:
                return True


def _aliased(node: torch.fx.Node) -> list[Any]:
    """Arguments that the result may share memory with."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return list(node.args[:1])
    return [
        node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None
    ]


def _inline(module: torch.fx.GraphModule) -> None:
    """Put the insides of blocks that only set a mode (autocast, gradients) in their place.

    What is computed in another precision inside such a block is the same function of its units.
    """
    graph = module.graph
    for node in list(graph.nodes):
        inner = next((a for a in node.args if _is_graph(module, a)), None)
        if inner is None or not str(node.target).startswith("wrap_with_"):
            continue
        block = getattr(module, inner.target)
        _inline(block)
        given = node.args[node.args.index(inner) + 1 :]
        put_in_place(graph, node, block.graph, given)
        if not inner.users:
            graph.erase_node(inner)


def put_in_place(
    graph: torch.fx.Graph, node: torch.fx.Node, parts: torch.fx.Graph, given: Sequence[Any]
) -> list[torch.fx.Node]:
    """Write what ``parts`` computes from ``given`` where ``node`` stands; the new nodes.

    ``parts`` returns a list of the results of ``node``, also where that has only one.
    """
    slots = [part for part in parts.nodes if part.op == "placeholder"]
    known = dict(zip(slots, given, strict=True))
    with graph.inserting_before(node):
        results: Any = graph.graph_copy(parts, known)
    if isinstance(node.meta.get("val"), Tensor):
        node.replace_all_uses_with(results[0])
    for user in list(node.users):
        user.replace_all_uses_with(results[user.args[1]])
        graph.erase_node(user)
    graph.erase_node(node)
    return [copied for part, copied in known.items() if part not in slots]


def _is_graph(module: torch.fx.GraphModule, value: Any) -> bool:
    return (
        isinstance(value, torch.fx.Node)
        and value.op == "get_attr"
        and isinstance(getattr(module, str(value.target), None), torch.fx.GraphModule)
    )


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without what torch logs and prints of a graph that it cannot finish: the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Nodes without the lines of source that made them: nothing reads them here, and they cost."""
    settings: Any = torch.fx.config
    before = getattr(settings, "do_not_emit_stack_traces", False)
    settings.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        settings.do_not_emit_stack_traces = before


@contextlib.contextmanager
def _on_meta(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Show the module's buffers on the meta device, beside its meta parameters."""
    replaced: list[tuple[nn.Module, str, Tensor]] = []
    if wanted:
        for m in module.modules():
            for name, buffer in m._buffers.items():
                if buffer is not None and not buffer.is_meta:
                    replaced.append((m, name, buffer))
                    m._buffers[name] = buffer.to("meta")
    try:
        yield
    finally:
        for m, name, buffer in replaced:
            m._buffers[name] = buffer
