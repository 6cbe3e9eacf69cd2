"""Modules that are called with keywords, as modules that are called by position."""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import nn

from zooalign.errors import DataError
from zooalign.graph.module_runner import skeleton_of

__all__ = ["called_by_position", "class_by_position", "keyword_order"]


def keyword_order(module: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Keyword inputs in the order of the module's ``forward``.

    Raises
    ------
    DataError
        ``forward`` takes no input of that name.
    """
    takes = inspect.signature(module.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return (*[name for name in takes if name in names], *[n for n in names if n not in takes])
    for name in names:
        if name not in takes:
            raise DataError(
                f"a batch has '{name}', and {type(module).__name__}.forward takes "
                f"{', '.join(takes) or 'no inputs'}: leave it out, or name it 'labels' if it is "
                "the targets"
            )
    return tuple(name for name in takes if name in names)


def called_by_position(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """A copy that shares the module's tensors, called with the inputs ``names`` in this order."""
    copied = skeleton_of(module).train(module.training)
    original: Any = type(module)
    copied.__class__ = _by_position(original, tuple(names))
    return copied


@cache
def _by_position(original: Any, names: tuple[str, ...]) -> type[nn.Module]:
    def forward(self: Any, *inputs: Any) -> Any:
        return original.forward(self, **dict(zip(names, inputs, strict=False)))

    return class_by_position(original, names, forward)


def class_by_position(
    original: Any, names: Sequence[str], forward: Callable[..., Any]
) -> type[nn.Module]:
    """A class of modules in whose place ``forward`` is called, with ``names`` by position.

    Give it to an instance (``module.__class__ = ...``) and all else about the instance stays: its
    parameters, their names, and what its class is called. So ``torch.export``,
    ``functional_call`` and a deep copy work as for any module.

    Parameters
    ----------
    original:
        The instance's class.
    names:
        The inputs, in order; later ones may be left out. A dot becomes an underscore.
    forward:
        Called with the instance and its inputs.
    """

    def called(self: Any, *inputs: Any) -> Any:
        return forward(self, *inputs)

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("self", kinds)]
    parameters += [inspect.Parameter(name.replace(".", "_"), kinds, default=None) for name in names]
    vars(called)["__signature__"] = inspect.Signature(parameters)
    body = {
        "forward": called,
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
    }
    return type(original.__name__, (original,), body)
