"""The tensors that a module's forward pass can read: those of its state dict, and all others.

A state dict may name tensors otherwise than the module does (wrappers take their prefix away), so
names are matched by the tensors themselves. What has no tensor to permute is refused here: layers
that were quantised, parameters without a shape, programs that were exported already.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from zooalign.errors import TraceError
from zooalign.graph.storage import ties

__all__ = ["EXTRA_STATE", "ModuleTensors", "attributes", "module_tensors"]

# What ``get_extra_state`` gives; no axis of it is known.
EXTRA_STATE = "_extra_state"
# Tensors of a module that are registered, and its hooks.
_REGISTERED = ("_parameters", "_buffers", "_modules")
_DEPTH = 4
_NO_CONTAINER = (nn.Module, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, str)


@dataclass(frozen=True)
class ModuleTensors:
    """A module's tensors by name.

    ``stored`` are those of the state dict, ``stored_name`` gives the name there by the module's
    own name. ``others`` are buffers that the state dict does not hold and tensors in attributes,
    ``trainable`` the names in the state dict of parameters.
    """

    stored: Mapping[str, Tensor]
    stored_name: Mapping[str, str]
    others: Mapping[str, Tensor]
    trainable: frozenset[str]


def module_tensors(module: nn.Module) -> ModuleTensors:
    """All tensors that the forward pass of ``module`` can read.

    Raises
    ------
    TraceError
        If it is no module, or holds what is no tensor that can be permuted.
    """
    _require_module(module)
    kind = type(module).__name__
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = dict(module.named_buffers(remove_duplicate=False))
    for name, tensor in {**parameters, **buffers}.items():
        if is_lazy(tensor):
            raise TraceError(
                f"parameter '{name}' of {kind} has no shape yet: call the module once on an input, "
                "so that its lazy layers take their sizes"
            )
    stored = dict(_stored(module))
    by_tensor: dict[int, str] = {}
    for name, tensor in stored.items():
        by_tensor.setdefault(id(tensor), name)
    stored_name = {
        name: name if stored.get(name) is tensor else by_tensor[id(tensor)]
        for name, tensor in {**parameters, **buffers}.items()
        if id(tensor) in by_tensor
    }
    lost = [name for name in parameters if name not in stored_name]
    if lost:
        raise TraceError(
            f"the state dict of {kind} does not hold its parameter '{lost[0]}', or holds another "
            "tensor in its place: a hook changes it, so nothing says where its units are stored. "
            "Derive the spec from the module without that hook"
        )
    _refuse_foreign(kind, stored, {**parameters, **buffers})
    others = {name: tensor for name, tensor in buffers.items() if name not in stored_name}
    registered = {id(tensor) for tensor in (*parameters.values(), *buffers.values())}
    attributed = {n: t for n, t in attributes(module).items() if id(t) not in registered}
    trainable = frozenset(stored_name[name] for name in parameters)
    return ModuleTensors(stored, stored_name, {**others, **attributed}, trainable)


def _require_module(module: Any) -> None:
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"a {type(module).__name__} is not a torch.nn.Module: pass the module itself, with its "
            "parameters and its forward"
        )
    if "eval" in vars(module):
        raise TraceError(
            f"{type(module).__name__} is a program that was exported already and has no eval mode: "
            "pass the module that it was exported from"
        )


def _stored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    kind = type(module).__name__
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name.rpartition(".")[2] == EXTRA_STATE:
            continue
        if not isinstance(tensor, Tensor) or tensor.is_quantized:
            what = "a quantised tensor" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TraceError(
                f"'{name}' in the state dict of {kind} is {what}, whose units cannot be permuted: "
                "derive the spec from the module before it was quantised"
            )
        yield name, tensor


def _refuse_foreign(
    kind: str, stored: Mapping[str, Tensor], registered: Mapping[str, Tensor]
) -> None:
    """Raise if the state dict has a tensor that the module does not read, made by a hook."""
    own = {f"own {name}": tensor for name, tensor in registered.items()}
    known = ties({**own, **stored})
    for name, tensor in stored.items():
        if name not in known and tensor.numel():
            raise TraceError(
                f"'{name}' in the state dict of {kind} is neither a parameter nor a buffer: a hook "
                "makes it, so nothing says what its axes are. Derive the spec from the module "
                "without that hook"
            )


def attributes(module: nn.Module) -> dict[str, Tensor]:
    """Tensors in attributes of a module and its parts that are not registered, by their place.

    Those in lists, dicts and objects too.

    Examples
    --------
    >>> import torch
    >>> part = nn.Identity()
    >>> part.cache = {"keys": [torch.ones(2)]}
    >>> list(attributes(nn.Sequential(part)))
    ['0.cache.keys.0']
    """
    seen: set[int] = set()
    return {
        place: tensor
        for prefix, owner in module.named_modules()
        for name, value in vars(owner).items()
        if name not in _REGISTERED and not name.endswith("_hooks")
        for place, tensor in _within(f"{prefix}.{name}" if prefix else name, value, seen, _DEPTH)
    }


def _within(place: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif depth and not isinstance(value, _NO_CONTAINER) and id(value) not in seen:
        if isinstance(value, Mapping):
            children = list(value.items())
        elif isinstance(value, (list, tuple)):
            children = list(enumerate(value))
        elif hasattr(value, "__dict__"):
            children = list(vars(value).items())
        else:
            return
        seen.add(id(value))
        for key, child in children:
            yield from _within(f"{place}.{key}", child, seen, depth - 1)
