"""Capture a module's computation as an ATen graph with ``torch.export``, on fake tensors.

No weight is read or allocated: parameters may be on the meta device. What is kept besides the
graph is what a state dict is needed for (which placeholder is which parameter or buffer), the
values of constants that are not in the state dict (index tables, masks), and which names of the
state dict are one tensor.
"""

import contextlib
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from zooalign.errors import TraceError
from zooalign.graph import concrete
from zooalign.graph.concrete import Recording
from zooalign.graph.module_runner import evaluating

__all__ = ["Capture", "capture", "captured_once", "put_in_place", "writes"]


# Operators whose result never shares memory with what they read.
_FRESH = frozenset(
    {"aten.sum.dim_IntList", "aten.sum.default", "aten.mean.dim", "aten.amax.default"}
)
_PLAIN = (bool, int, float, str, type(None))
# A run with values wants the parameters in memory.
_MOST_RECORDED = 100_000_000


@dataclass(frozen=True)
class Capture:
    """A captured computation: a ``torch.fx`` graph of ATen operators, and a module's state dict.

    ``parameters``, ``constants`` and ``inputs`` are as in
    :class:`~zooalign.graph.concrete.Recording`; ``tied`` has state-dict names with the first name
    of the same tensor, ``trainable`` those of parameters (not buffers). ``export_seconds`` passed
    inside ``torch.export.export``, or in the run that was recorded.

    ``by_values`` says that a run with values was recorded (:mod:`zooalign.graph.concrete`): steps
    that depend on the values of inputs are those of the example inputs.
    """

    graph: torch.fx.Graph
    parameters: Mapping[str, str]
    constants: Mapping[str, Tensor | None]
    inputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    tied: Mapping[str, str]
    trainable: frozenset[str]
    export_seconds: float = field(default=0.0, compare=False)
    by_values: bool = False


def capture(module: nn.Module, example_inputs: Sequence[Any]) -> Capture:
    """Capture what ``module`` computes in eval mode on inputs of the given shapes.

    Where ``torch.export`` cannot trace a module because a step depends on values, a small one is
    run once on the example inputs and recorded (:mod:`zooalign.graph.concrete`).

    The module is left as it was (training flag, buffers, values); its parameters may be on the
    meta device. Of the inputs only shapes, dtypes and device are used.

    Raises
    ------
    TraceError
        If the module can be captured in neither way.
    """
    on_meta = any(p.is_meta for p in module.parameters())
    device = "meta" if on_meta else next((p.device for p in module.parameters()), None)
    inputs = tuple(
        x.to(device) if isinstance(x, Tensor) and device is not None else x for x in example_inputs
    )
    shared, key = _SHARED.get(), _shapes_of(inputs)
    captures = {} if shared is None or key is None else shared.setdefault(module, {})
    if key in captures:
        return captures[key]
    captured = _capture(module, inputs, tuple(example_inputs), on_meta)
    if not captured.by_values:  # those hold for the example inputs alone
        captures[key] = captured
    return captured


_SHARED: ContextVar[WeakKeyDictionary[nn.Module, dict[Hashable, Capture]] | None] = ContextVar(
    "captures", default=None
)


@contextlib.contextmanager
def captured_once() -> Iterator[None]:
    """In this block (or a function so decorated) a module is captured once per shapes of inputs.

    One command needs the graph of a module several times: for its spec, to collect statistics,
    to repair a merge. Modules must not be changed within the block. Nested blocks share the
    captures of the outermost one, which are dropped at its end.
    """
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set(WeakKeyDictionary())
    try:
        yield
    finally:
        _SHARED.reset(token)


def _shapes_of(inputs: Sequence[Any]) -> Hashable | None:
    """What a capture depends on in the inputs; None where that cannot be compared."""
    for x in inputs:
        if x.layout != torch.strided if isinstance(x, Tensor) else not isinstance(x, _PLAIN):
            return None
    return tuple(
        (tuple(x.shape), x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else (type(x), x)
        for x in inputs
    )


def _capture(
    module: nn.Module, inputs: tuple[Any, ...], example_inputs: tuple[Any, ...], on_meta: bool
) -> Capture:
    shapes = {name: tuple(t.shape) for name, t in module.state_dict(keep_vars=True).items()}
    dtypes = {name: t.dtype for name, t in module.state_dict(keep_vars=True).items()}
    values = {  # of buffers, by name: torch.export on meta would lose them
        name: buffer.detach()
        for name, buffer in module.named_buffers(remove_duplicate=False)
        if not buffer.is_meta
    }
    tied, by_values = _ties(module), False
    try:
        recording, seconds = _exported(module, inputs, on_meta, values, shapes)
    except TraceError as error:
        by_values = True
        recording, seconds = _recorded(module, example_inputs, error, tied)
    return Capture(
        **vars(recording),
        shapes=shapes,
        dtypes=dtypes,
        tied=tied,
        trainable=frozenset(n for n, _ in module.named_parameters(remove_duplicate=False)),
        export_seconds=seconds,
        by_values=by_values,
    )


def _exported(
    module: nn.Module,
    inputs: tuple[Any, ...],
    on_meta: bool,
    values: Mapping[str, Tensor],
    shapes: Mapping[str, Any],
) -> tuple[Recording, float]:
    """By ``torch.export``, on fake tensors."""
    quiet = warnings.catch_warnings()
    # Without gradients, a no_grad inside the module adds no operator to the graph.
    with torch.no_grad(), evaluating(module), _on_meta(module, on_meta), quiet:
        warnings.simplefilter("ignore")
        try:
            start = perf_counter()
            program = torch.export.export(module, inputs, strict=False)
            seconds = perf_counter() - start
            for node in program.graph.nodes:
                if not _sized(node):
                    raise ValueError(f"the shape of '{node.name}' depends on values")
                if str(node.target).startswith("<function"):
                    raise ValueError(f"'{node.name}' is not an operator: {node.target}")
        except Exception as error:
            raise TraceError(
                f"torch.export cannot trace {type(module).__name__} on inputs of shapes "
                f"{[tuple(x.shape) for x in inputs if isinstance(x, Tensor)]}: "
                f"{type(error).__name__}: {_first_line(error)}. "
                "Check that the example inputs are those the model takes, and that its forward "
                "has no control flow that depends on values."
            ) from error
        order = {node: number for number, node in enumerate(program.graph.nodes)}
        if any(_seen_elsewhere(node, order) for node in order if writes(node)):
            program = program.run_decompositions({})
    _keep_outputs(program)
    _inline(program.graph_module)
    parameters: dict[str, str] = {}
    constants: dict[str, Tensor | None] = {}
    users: list[str] = []
    for spec in program.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind == InputKind.PARAMETER or (
            spec.kind == InputKind.BUFFER and spec.target in shapes
        ):
            parameters[name] = str(spec.target)
        elif spec.kind == InputKind.USER_INPUT:
            users.append(name)
        else:
            value = values.get(str(spec.target), program.constants.get(spec.target))
            known = isinstance(value, Tensor) and not value.is_meta
            constants[name] = value.detach() if known else None
    return Recording(program.graph, parameters, constants, tuple(users)), seconds


def _recorded(
    module: nn.Module, inputs: tuple[Any, ...], cause: TraceError, tied: Mapping[str, str]
) -> tuple[Recording, float]:
    """By a run with values, if the inputs have values and the module is small."""
    size = sum(parameter.numel() for parameter in module.parameters())
    if size > _MOST_RECORDED or any(
        isinstance(x, Tensor) and x.device.type != "cpu" for x in inputs
    ):
        raise cause
    start = perf_counter()
    try:
        with evaluating(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recording = concrete.run(module, inputs, tied)
    except TraceError as error:
        raise TraceError(f"{type(module).__name__}: {error}. {cause}") from error
    except Exception as error:
        raise TraceError(
            f"{type(module).__name__} does not run on the example inputs: "
            f"{type(error).__name__}: {_first_line(error)[:200]}. {cause}"
        ) from error
    return recording, perf_counter() - start


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _sized(node: torch.fx.Node) -> bool:
    """Whether all numbers of a tensor's shape are known."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(n, int) for v in values if isinstance(v, Tensor) for n in v.shape)


def writes(node: torch.fx.Node) -> bool:
    """Whether the operator changes one of its arguments in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _seen_elsewhere(write: torch.fx.Node, order: Mapping[torch.fx.Node, int]) -> bool:
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


def _keep_outputs(program: torch.export.ExportedProgram) -> None:
    """Leave only what the module returns: not the buffers it updates on the way."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    kept = tuple(
        value
        for value, spec in zip(output.args[0], program.graph_signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    )
    if len(kept) < len(output.args[0]):
        output.args = (kept,)


def _ties(module: nn.Module) -> dict[str, str]:
    first: dict[Any, str] = {}
    ties: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        key: Any = id(tensor)
        if not tensor.is_meta and tensor.numel():
            key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if key in first:
            ties[name] = first[key]
        else:
            first[key] = name
    return ties


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
