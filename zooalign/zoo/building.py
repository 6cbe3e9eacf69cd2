"""Building modules without weights, and giving them weights: shared by all adapters."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from zooalign.errors import CheckpointError, ModelReferenceError

# A configuration may ask for a billion layers. The largest published models have some 100,000.
_MOST_PARAMETERS = 2**17

__all__ = ["assign_state_dict", "build_initialised", "build_on_meta", "tied_names"]


def build_on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """``make()`` in eval mode with every parameter on the meta device and buffers untouched.

    Buffers (relative positions, frequencies, running statistics) keep the values their module
    computes, as a trace needs them. A parameter is moved as it is registered, so at most one
    has memory at a time, and initialisers then work on meta tensors at no cost.

    A few constructors need values (timm's Swin V2 and hybrids run a part of themselves) or place
    buffers where their parameters are (Swin). Those are built with memory that nothing is written
    to, so that the system never gives it, and that is then dropped.

    Raises
    ------
    ModelReferenceError
        It has more parameter tensors than any model.
    """
    with torch.random.fork_rng(devices=[]), _parameters_counted():
        module: nn.Module | None = None
        with suppress(Exception), _parameters_on_meta():
            module = make()
        if module is None or any(buffer.is_meta for buffer in module.buffers()):
            with _Uninitialised():
                module = _emptied(make())
    return module.eval()


class _Uninitialised(TorchFunctionMode):
    """Initialisers leave parameters as they are: their values are not needed."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        target = args[0] if args else (kwargs or {}).get("tensor")  # as torch.nn.init calls it
        if in_place and isinstance(target, nn.Parameter):
            return target
        return func(*args, **(kwargs or {}))


def _emptied(module: nn.Module) -> nn.Module:
    """``module`` with its parameters moved to meta; ties are kept."""
    moved: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) not in moved:
                moved[id(parameter)] = _on_meta(parameter)
            setattr(part, name, moved[id(parameter)])
    return module


def _on_meta(parameter: nn.Parameter) -> nn.Parameter:
    moved = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    moved.__dict__.update(parameter.__dict__)
    return moved


def build_initialised(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """``make()`` in eval mode on the CPU under ``seed``; the caller's random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with _parameters_counted():
            module = make()
    return module.eval()


@contextmanager
def _parameters_counted() -> Iterator[None]:
    """Stop a constructor that does not end."""
    count = 0

    def counted(parameter: Any) -> None:
        nonlocal count
        count += 1
        if count > _MOST_PARAMETERS:
            raise ModelReferenceError(
                f"an architecture of more than {_MOST_PARAMETERS} parameters is not built"
            )

    with _on_registration(counted):
        yield


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    def to_meta(parameter: Any) -> nn.Parameter | None:
        # A parameter already on meta is one registered again: returning it unchanged keeps ties.
        usable = isinstance(parameter, nn.Parameter) and not nn.parameter.is_lazy(parameter)
        return _on_meta(parameter) if usable and not parameter.is_meta else None

    with _on_registration(to_meta):
        yield


@contextmanager
def _on_registration(change: Callable[[Any], nn.Parameter | None]) -> Iterator[None]:
    """Give each parameter that this thread registers to ``change``; None leaves it as it is."""
    thread = threading.get_ident()

    def hook(module: nn.Module, name: str, parameter: Any) -> Any:
        return change(parameter) if threading.get_ident() == thread else None

    handle = register_module_parameter_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def tied_names(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Groups of two or more names under which ``module`` holds one and the same parameter."""
    groups: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def assign_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """``module`` with the tensors of ``state_dict`` in place of its own, in eval mode.

    Nothing is copied on the CPU if ``dtype`` is None. Parameters that were one before are one
    after.

    Raises
    ------
    CheckpointError
        A key is missing or unexpected, or a shape differs.
    """
    ties = tied_names(module)
    try:
        module.load_state_dict(dict(state_dict), assign=True, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"the state dict does not fit {type(module).__name__}: {error}"
        ) from None
    for first, *others in ties:
        parameter = module.get_parameter(first)
        for other in others:
            path, _, name = other.rpartition(".")
            setattr(module.get_submodule(path), name, parameter)
    return module.to(device=device, dtype=dtype).eval()
