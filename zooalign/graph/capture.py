"""Capture a module's computation as an ATen graph with ``torch.export``, on fake tensors.

No weight is read or allocated: parameters may be on the meta device. What is kept besides the
graph is what a state dict is needed for (which placeholder is which parameter or buffer), the
values of constants that are not in the state dict (index tables, masks), and which names of the
state dict are one tensor.
"""

import contextlib
import traceback
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from zooalign.errors import TraceError
from zooalign.graph import concrete
from zooalign.graph.call_effects import attributes_restored
from zooalign.graph.carried import without_caches
from zooalign.graph.concrete import Decision, Recording
from zooalign.graph.exported import NotExported, exported, require_calls_alike
from zooalign.graph.module_runner import evaluating
from zooalign.graph.module_tensors import ModuleTensors, module_tensors
from zooalign.graph.outputs import is_tree
from zooalign.graph.storage import overlapping, ties
from zooalign.text import first_line

__all__ = ["Capture", "capture", "captured_once"]


_PLAIN = (bool, int, float, str, type(None))
# A run with values wants the parameters in memory.
_MOST_RECORDED = 100_000_000
# Where torch takes derivatives.
_DERIVATIVES = {
    ("torch", "_functorch", "eager_transforms.py"),
    ("torch", "autograd", "__init__.py"),
}


@dataclass(frozen=True)
class Capture:
    """A captured computation: a ``torch.fx`` graph of ATen operators, and a module's state dict.

    ``parameters``, ``constants``, ``inputs`` and ``written`` are as in
    :class:`~zooalign.graph.concrete.Recording`, ``places`` says where in the module a constant
    lies, by placeholder name; ``tied`` has state-dict names with the first name
    of the same tensor, ``shared`` those of tensors that share memory in another way, with the name
    of the other; ``trainable`` those of parameters (not buffers). ``export_seconds`` passed
    inside ``torch.export.export``, or in the run that was recorded.

    ``by_values`` says that a run with values was recorded (:mod:`zooalign.graph.concrete`), and
    ``decisions`` are the operators by which values of inputs decided how it went on: the graph
    holds for inputs that take the same way.
    """

    graph: torch.fx.Graph
    parameters: Mapping[str, str]
    constants: Mapping[str, Tensor | None]
    places: Mapping[str, str]
    inputs: tuple[str, ...]
    written: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    tied: Mapping[str, str]
    shared: Mapping[str, str]
    trainable: frozenset[str]
    export_seconds: float = field(default=0.0, compare=False)
    by_values: bool = False
    decisions: tuple[Decision, ...] = ()


def capture(
    module: nn.Module, example_inputs: Sequence[Any], *, allow_value_dependent: bool = False
) -> Capture:
    """Capture what ``module`` computes in eval mode on inputs of the given shapes.

    Where ``torch.export`` cannot trace a module because a step depends on values, a small one is
    run once on the example inputs and recorded (:mod:`zooalign.graph.concrete`). Where values of
    inputs decide, ``allow_value_dependent`` has to accept it.

    The module is left as it was (training flag, buffers, attributes, values); its parameters may
    be on the meta device. Of the inputs only shapes, dtypes and device are used.

    Raises
    ------
    TraceError
        If the module can be captured in neither way.
    """
    tensors = module_tensors(module)
    _require_trees(module, example_inputs)
    on_meta = any(tensors.stored[name].is_meta for name in tensors.trainable)
    device = "meta" if on_meta else next((p.device for p in module.parameters()), None)
    inputs = tuple(
        x.to(device) if isinstance(x, Tensor) and device is not None else x for x in example_inputs
    )
    shared, key = _SHARED.get(), _shapes_of(inputs)
    captures = {} if shared is None or key is None else shared.setdefault(module, {})
    if key in captures:
        return captures[key]
    with attributes_restored(module):
        captured = _capture(module, inputs, tuple(example_inputs), tensors)
    if captured.decisions and not allow_value_dependent:
        raise TraceError(_decided(module, captured.decisions))
    if not captured.by_values:  # those hold for the example inputs alone
        captures[key] = captured
    return captured


def _require_trees(module: nn.Module, inputs: Sequence[Any]) -> None:
    for number, value in enumerate(inputs):
        if not is_tree(value):
            raise TraceError(
                f"input {number} of {type(module).__name__} is a {type(value).__name__}, and "
                "torch.export does not see the tensors in it: pass tensors, or tell PyTorch of the "
                f"class with torch.utils._pytree.register_dataclass({type(value).__name__})"
            )


def _decided(module: nn.Module, decisions: Sequence[Decision]) -> str:
    more = f" (and {len(decisions) - 1} more)" if len(decisions) > 1 else ""
    return (
        f"values of its inputs decide how {type(module).__name__} goes on, at "
        f"{decisions[0].where}{more}: what was recorded holds only for inputs that take the same "
        "way as the example inputs. Accept that with allow_value_dependent=True "
        "(--allow-value-dependent); the spec then says so"
    )


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
    module: nn.Module,
    inputs: tuple[Any, ...],
    example_inputs: tuple[Any, ...],
    tensors: ModuleTensors,
) -> Capture:
    by_values = False
    decisions: tuple[Decision, ...] = ()
    try:
        with attributes_restored(module):
            recording, seconds = exported(module, inputs, tensors)
    except NotExported as error:
        by_values = True
        recording, decisions, seconds = _recorded(module, example_inputs, error, tensors)
    recording = without_caches(recording, tensors.stored)
    kept = [name for name in recording.written if name not in tensors.stored]
    if kept and not by_values:
        require_calls_alike(module, inputs, tensors, kept)
    return Capture(
        graph=recording.graph,
        parameters=recording.parameters,
        constants=recording.constants,
        places={name: place for name, (place, _) in recording.held.items()},
        inputs=recording.inputs,
        written=recording.written,
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.stored.items()},
        dtypes={name: tensor.dtype for name, tensor in tensors.stored.items()},
        tied=ties(tensors.stored),
        shared=_shared(tensors.stored, recording.held.values()),
        trainable=tensors.trainable,
        export_seconds=seconds,
        by_values=by_values,
        decisions=decisions,
    )


def _shared(stored: Mapping[str, Tensor], held: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """Names of the state dict whose tensor shares memory with another, or with a constant.

    The graph takes a constant for a tensor of its own, also where it is a parameter whole.
    """
    constants = {f"attribute {place}": tensor for place, tensor in held}
    everything = {**stored, **constants}
    same = ties(everything)
    shared = overlapping(everything)
    for name in constants:
        first = same.get(name)
        if first in stored:
            shared |= {n: name for n in stored if same.get(n, n) == first}
    return {name: other for name, other in shared.items() if name in stored}


def _recorded(
    module: nn.Module, inputs: tuple[Any, ...], cause: TraceError, tensors: ModuleTensors
) -> tuple[Recording, tuple[Decision, ...], float]:
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
            recording, decisions = concrete.run(module, inputs, tensors)
    except TraceError as error:
        raise TraceError(f"{type(module).__name__}: {error}. {cause}") from error
    except Exception as error:
        what = (
            "takes derivatives in its forward pass (torch.func.grad, torch.autograd.grad), which "
            "cannot be traced; give the part of it that takes none"
            if _takes_derivatives(error)
            else "does not run on the example inputs"
        )
        raise TraceError(
            f"{type(module).__name__} {what}: {type(error).__name__}: "
            f"{first_line(error)[:200]}. {cause}"
        ) from error
    return recording, decisions, perf_counter() - start


def _takes_derivatives(error: Exception) -> bool:
    """Whether an error was raised below a call for derivatives."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).parts[-3:] in _DERIVATIVES for frame in frames)
