"""Capture a module's computation by running it once with values.

``torch.export`` has no values: it cannot trace a step that depends on them, such as a loop over the
segments that a mask names. Here the module is run, and every operator is recorded when it is
called, functional and not decomposed. What such steps decide holds for the example inputs, as their
shapes do.

This is right only if constants and integer inputs decide (masks, lengths, grids): they belong to
the form of the inputs. If values that the network computes, or real numbers of its inputs, decide,
the graph would hold for this run alone, and it is refused. So is a run that took one of several
ways and left parameters unread: on another way they may belong to a group. And so is one after
which the same call takes other steps: what is kept between calls decides (a counter, a memory).
"""

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from zooalign.errors import TraceError
from zooalign.graph.call_effects import (
    Repeated,
    attributes_restored,
    require_alike,
    returning_assigned,
)
from zooalign.graph.module_runner import call_module
from zooalign.graph.module_tensors import ModuleTensors
from zooalign.graph.outputs import results
from zooalign.graph.registry import aten
from zooalign.graph.storage import identity, ties

__all__ = ["Decision", "Recording", "decides", "reached", "run"]


# Python chooses how to go on by the result of these.
_CHOOSES = aten("item _local_scalar_dense is_nonzero equal allclose")
# Python may read the result of these, or the shape of the result depends on values.
_DECIDES = (
    *_CHOOSES,
    *aten("nonzero nonzero_numpy argwhere masked_select bincount unique_consecutive unique_dim"),
    *aten("_unique2 _unique combinations"),
)
# And overloads of others: ``where`` of a condition alone is ``nonzero``.
_DECIDES_IN_FULL = aten("repeat_interleave.Tensor repeat_interleave.self_Tensor where.default")
_BOOLEAN_INDEX = aten("index index_put index_put_")
# The result of these depends on the shape of what they are given, not on its values.
_OF_SHAPE = aten(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full "
    "new_empty sym_size"
)
_MODES = ("_set_grad_enabled", "_enter_autocast", "_exit_autocast")
_ESCAPES = ("numpy", "__array__", "__dlpack__")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)[^\n]*\n\s*(.*)')


@dataclass(frozen=True)
class Decision:
    """An operator whose result decided how a run went on, and where it was called."""

    operator: str
    file: str = ""
    line: int = 0
    code: str = ""

    @property
    def where(self) -> str:
        """For people: the operator, and the line of code."""
        if not self.file:
            return self.operator
        return f"{self.operator} in {self.file}:{self.line} `{self.code}`"


@dataclass(frozen=True)
class Recording:
    """A graph and what its placeholders are.

    By placeholder name ``parameters`` has state-dict names of parameters and persistent buffers,
    ``constants`` the values that are not in the state dict (None on the meta device). ``inputs``
    are the placeholder names of the inputs, in order.

    The graph returns the tensors of the module's result, and then what a call writes for the next
    one: ``written`` has the names of these, in the state dict where they are there. ``held`` has by
    placeholder name the module's own tensors that constants stand for, and where it holds them.
    """

    graph: fx.Graph
    parameters: Mapping[str, str]
    constants: Mapping[str, Tensor | None]
    inputs: tuple[str, ...]
    written: tuple[str, ...] = ()
    held: Mapping[str, tuple[str, Tensor]] = field(default_factory=dict)


def run(
    module: nn.Module, inputs: Sequence[Any], tensors: ModuleTensors
) -> tuple[Recording, tuple[Decision, ...]]:
    """Run ``module`` (in eval mode already) on ``inputs`` and record every operator.

    Parameters on the meta device get random values.

    Returns
    -------
    The recording, and the operators by which values of inputs decided how the run went on.

    Raises
    ------
    TraceError
        If a step depends on what the network computed from its parameters or on real numbers,
        leaves torch, if the steps taken leave parameters unread, or if a second call takes others.
    """
    tied = ties(tensors.stored)
    names = [name for name in tensors.stored if name not in tied]
    buffers = [n for n, _ in module.named_buffers() if n not in tensors.stored_name]
    read = {**tensors.stored, **tensors.others}
    values = _values([read[name] for name in (*names, *buffers)])

    def call(called: nn.Module, prefix: str = "") -> Callable[..., list[Tensor]]:
        def on(values: list[Tensor], given: list[Any]) -> list[Tensor]:
            known = dict(zip((*names, *buffers), values, strict=True))
            known |= {name: known[first] for name, first in tied.items()}
            own = {name: known[stored] for name, stored in tensors.stored_name.items()}
            own |= {name: known[name] for name in buffers}
            own = {prefix + name: tensor for name, tensor in own.items()}
            with _NoEscape():
                return [*results(call_module(called, own, tuple(given))), *values]

        return on

    with attributes_restored(module), returning_assigned(module) as assigned:
        recorded = _traced(call(module), values, list(inputs))
    with attributes_restored(module):
        twice = _traced(call(Repeated(module, 2), "module."), values, list(inputs))
    require_alike(module, recorded.graph, twice.graph)
    return _read(recorded, names, buffers, assigned, tensors)


def _traced(
    call: Callable[..., list[Tensor]], values: list[Tensor], given: list[Any]
) -> fx.GraphModule:
    functional: Callable[..., Any] = dispatch_functionalize(
        call, FunctionalTensorMode(pre_dispatch=True, export=True)
    )
    with torch.no_grad(), _exporting(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        recorded: fx.GraphModule = make_fx(
            functional,
            tracing_mode="real",
            pre_dispatch=True,
            record_stack_traces=True,
            _error_on_data_dependent_ops=False,
        )(values, given)
    return recorded


def _values(tensors: Sequence[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = []
    for tensor in tensors:
        shape = tuple(tensor.shape)
        if not tensor.is_meta:
            value = tensor.detach()
        elif not tensor.is_floating_point():
            value = torch.zeros(shape, dtype=tensor.dtype)
        elif len(shape) > 1:
            scale = sqrt(max(1, tensor.numel() // max(1, shape[0])))
            value = torch.randn(shape, generator=generator, dtype=tensor.dtype) / scale
        else:
            value = 0.5 + torch.rand(shape, generator=generator, dtype=tensor.dtype)
        values.append(value)
    return values


class _NoEscape(TorchFunctionMode):
    """Keep values inside torch: lists are read number by number, arrays are refused."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name == "tolist" and args and isinstance(args[0], Tensor):
            return _listed(args[0])
        if name == "dropout" and not kwargs.get("training", True):  # needs no operator
            return args[0]
        if name in _ESCAPES:
            raise TraceError(f"a step of the module leaves torch: Tensor.{name}")
        return func(*args, **kwargs)


def _listed(x: Tensor) -> Any:
    return x.item() if x.dim() == 0 else [_listed(x.select(0, i)) for i in range(x.shape[0])]


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Let modules that run differently in an export do so."""
    before = torch.compiler._is_exporting_flag
    torch.compiler._is_exporting_flag = True
    try:
        yield
    finally:
        torch.compiler._is_exporting_flag = before


def _read(
    recorded: fx.GraphModule,
    names: Sequence[str],
    buffers: Sequence[str],
    assigned: Sequence[str],
    tensors: ModuleTensors,
) -> tuple[Recording, tuple[Decision, ...]]:
    graph = recorded.graph
    for node in reversed(list(graph.nodes)):  # a mode is left by the node that entered it
        if any(mode in str(node.target) for mode in _MODES):
            graph.erase_node(node)
    slots = [node for node in graph.nodes if node.op == "placeholder"]
    stored, given = slots[: len(names)], slots[len(names) + len(buffers) :]
    written = _written(graph, slots, (*names, *buffers), assigned)
    _refuse_computed(graph, {slot for slot in [*stored, *given] if _is_floating(slot)})
    # What is kept of training beside the parameters may well be read by nothing.
    owned = {s: n for s, n in zip(stored, names, strict=True) if n in tensors.trainable}
    _refuse_unread(graph, owned)
    constants, held = {}, {}
    places = {identity(tensor): place for place, tensor in tensors.others.items()}
    for slot, name in zip(slots[len(names) :], buffers, strict=False):
        constants[slot.name] = None if tensors.others[name].is_meta else tensors.others[name]
        held[slot.name] = (name, tensors.others[name])
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = getattr(recorded, str(node.target))
            with graph.inserting_before(slots[0]):
                slot = graph.placeholder(node.name)
            slot.meta["val"] = value
            node.replace_all_uses_with(slot)
            graph.erase_node(node)
            constants[slot.name] = None if value.is_meta else value.detach()
            held[slot.name] = (places.get(identity(value), node.name), value)
    parameters = {slot.name: name for slot, name in zip(stored, names, strict=True)}
    inputs = tuple(slot.name for slot in given)
    recording = Recording(graph, parameters, constants, inputs, written, held)
    return recording, _decisions(graph, given)


def _written(
    graph: fx.Graph, slots: Sequence[fx.Node], names: Sequence[str], assigned: Sequence[str]
) -> tuple[str, ...]:
    """Names of what the run wrote; of the values that it returns, only those stay outputs."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    count = len(output.args[0]) - len(names)
    values = zip(names, slots, output.args[0][count:], strict=False)
    changed = {name: value for name, slot, value in values if value is not slot}
    new = dict(zip(assigned, output.args[0][count - len(assigned) : count], strict=True))
    written = {**changed, **new}
    output.args = ((*output.args[0][: count - len(assigned)], *written.values()),)
    return tuple(written)


def _is_floating(slot: fx.Node) -> bool:
    value = slot.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _refuse_unread(graph: fx.Graph, parameters: Mapping[fx.Node, str]) -> None:
    """Raise if Python chose a way on which parameters are not read.

    What constants decide is the same for all inputs and parameters.
    """
    given = reached(graph, [node for node in graph.nodes if node.op == "placeholder"])
    chosen = any(
        _base(node) in _CHOOSES and any(part in given for part in node.all_input_nodes)
        for node in graph.nodes
    )
    unread = [name for slot, name in parameters.items() if not slot.users and _is_floating(slot)]
    if chosen and unread:
        raise TraceError(
            f"inputs decide which steps are taken, and those taken leave '{unread[0]}' unread: "
            "other inputs may use it"
        )


def _decisions(graph: fx.Graph, inputs: Sequence[fx.Node]) -> tuple[Decision, ...]:
    """Where values of inputs decided: each line of code once."""
    depends = reached(graph, inputs)
    found = (
        _decision(node)
        for node in graph.nodes
        if decides(node) and any(part in depends for part in _value_operands(node))
    )
    return tuple(dict.fromkeys(found))


def _decision(node: fx.Node) -> Decision:
    operator = str(node.target)
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    if not frames:
        return Decision(operator)
    outside = [frame for frame in frames if "/torch/" not in frame[0]]
    file, line, code = (outside or frames)[-1]
    return Decision(operator, file, int(line), code.strip())


def reached(graph: fx.Graph, sources: Iterable[fx.Node]) -> set[fx.Node]:
    """Nodes whose values depend on those of the sources."""
    depends = set(sources)
    for node in graph.nodes:
        if _base(node) not in _OF_SHAPE and any(part in depends for part in _read_by(node)):
            depends.add(node)
    return depends


def _base(node: fx.Node) -> str:
    return str(node.target).rsplit(".", 1)[0]


def _read_by(node: fx.Node) -> Sequence[fx.Node]:
    """The operands on whose values the result depends.

    The second result of packing a sequence is how many rows each step has, by the lengths alone.
    """
    if node.target is operator.getitem and node.args[1] == 1:
        packed: Any = node.args[0]
        if _base(packed) == "aten._pack_padded_sequence":
            return [part for part in packed.args[1:2] if isinstance(part, fx.Node)]
    return node.all_input_nodes


def decides(node: fx.Node) -> bool:
    """Whether Python looks at the result of an operator, or at its shape that depends on values."""
    if node.op != "call_function":
        return False
    name = str(node.target)
    base = name.rsplit(".", 1)[0]
    if base in _DECIDES or name in _DECIDES_IN_FULL:
        return True
    tables: Any = node.args[1] if base in _BOOLEAN_INDEX else ()
    return any(_boolean(table) for table in tables)


def _boolean(table: Any) -> bool:
    value = table.meta.get("val") if isinstance(table, fx.Node) else None
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _refuse_computed(graph: fx.Graph, floating: set[fx.Node]) -> None:
    """Raise if a decision depends on a parameter or a real number of the inputs."""
    computed = reached(graph, floating)
    for node in graph.nodes:
        if decides(node) and any(part in computed for part in _value_operands(node)):
            raise TraceError(
                "a step depends on values that the network computes or on real numbers of its "
                f"inputs: {_decision(node).where}"
            )


def _value_operands(node: fx.Node) -> list[fx.Node]:
    """The operands whose values decide."""
    name = str(node.target)
    if name.rsplit(".", 1)[0] in _BOOLEAN_INDEX:
        tables: Any = node.args[1]
        return [table for table in tables if isinstance(table, fx.Node) and _boolean(table)]
    if "repeat_interleave.self" in name or "masked_select" in name:
        return [part for part in node.args[1:2] if isinstance(part, fx.Node)]
    return list(node.all_input_nodes)
