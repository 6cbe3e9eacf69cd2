"""What a call of a module leaves behind in its attributes, for the caller or for the next call.

Writes to registered tensors are operators of the graph. An assignment (``self.memory = hidden``)
is none. So the module is made to return what it assigned, beside its result; what is assigned
is then an output like any other.

A call may also find what the last one left, and go on otherwise: a graph of one call is then not
what a module computes. So a call is compared with two in a row.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, fx, nn

from zooalign.errors import TraceError
from zooalign.graph.module_tensors import attributes
from zooalign.graph.outputs import results

__all__ = ["Repeated", "attributes_restored", "require_alike", "returning_assigned"]

_REGISTERED = ("_parameters", "_buffers", "_modules")


@contextlib.contextmanager
def returning_assigned(module: nn.Module) -> Iterator[list[str]]:
    """In this block a call returns its tensors and those it assigned: two flat lists.

    Yields
    ------
    The places of what the last call assigned (``part.memory``), in the order it is returned.
    """
    before: dict[str, Tensor] = {}
    places: list[str] = []

    def enter(module: nn.Module, args: Any) -> None:
        before.clear()
        before.update(_held(module))

    def leave(module: nn.Module, args: Any, result: Any) -> tuple[list[Any], list[Tensor]]:
        assigned = dict(_assigned(module, before))
        places[:] = assigned
        return results(result), list(assigned.values())

    handles = [
        module.register_forward_pre_hook(enter, prepend=True),
        module.register_forward_hook(leave),
    ]
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


def _held(module: nn.Module) -> dict[str, Tensor]:
    return {**attributes(module), **dict(module.named_buffers(remove_duplicate=False))}


def _assigned(module: nn.Module, before: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    known = {id(tensor) for tensor in (*module.parameters(), *before.values())}
    # A deprecated weight_norm computes its weight before each call: nobody reads an old one.
    renewed = {
        f"{prefix}.{hook.name}" if prefix else hook.name
        for prefix, owner in module.named_modules()
        for hook in owner._forward_pre_hooks.values()
        if isinstance(getattr(hook, "name", None), str)
    }
    for place, tensor in _held(module).items():
        if id(tensor) not in known and place not in renewed:
            yield place, tensor


@contextlib.contextmanager
def attributes_restored(module: nn.Module) -> Iterator[None]:
    """In this block calls may assign attributes; afterwards these are what they were."""
    owners = [(owner, dict(vars(owner))) for owner in module.modules()]
    contents = [
        (value, value.copy())
        for _, saved in owners
        for name, value in saved.items()
        if isinstance(value, (list, dict)) and (name in _REGISTERED or not name.startswith("_"))
    ]
    try:
        yield
    finally:
        for owner, saved in owners:
            for name in set(vars(owner)) - set(saved):
                del vars(owner)[name]
            for name, value in saved.items():
                if vars(owner)[name] is not value:
                    vars(owner)[name] = value
        for value, saved_content in contents:
            if isinstance(value, list):
                value[:] = saved_content
            else:
                value.clear()
                value.update(saved_content)


class Repeated(nn.Module):
    """A module that calls another one a number of times, on the same inputs."""

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.module, self.calls = module, calls

    def forward(self, *inputs: Any) -> list[Any]:
        """The results of all calls."""
        return [results(self.module(*inputs)) for _ in range(self.calls)]


def require_alike(module: nn.Module, once: fx.Graph, twice: fx.Graph, kept: str = "") -> None:
    """Raise TraceError unless the graph of two calls has each operator of that of one twice.

    ``kept`` is the place of what a call keeps, where that is known.
    """
    steps, both = (
        Counter(str(node.target) for node in graph.nodes if node.op == "call_function")
        for graph in (once, twice)
    )
    if both != steps + steps:
        what = f"'{kept}'" if kept else "something"
        raise TraceError(
            f"{type(module).__name__} takes other steps in its second call than in its first: it "
            f"keeps {what}, which the example's call finds empty or otherwise. Call it once "
            "before, so that a usual call is traced, or keep it in a buffer"
        )
