"""Modules without weights, and the weights of a checkpoint fitted to them; for all adapters."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from zooalign.errors import (
    CheckpointError,
    ModelReferenceError,
    ZooalignError,
    is_out_of_memory,
)
from zooalign.graph.devices import require_device
from zooalign.graph.lazy_state import LazyTensors, TensorInfo, same_bytes
from zooalign.text import some_of
from zooalign.zoo.references import PICKLE_SUFFIXES

__all__ = [
    "assign_state_dict",
    "build_initialised",
    "build_on_meta",
    "state_dict_for",
    "tied_names",
]

# A configuration may ask for a billion layers. The largest published models have some 100,000.
_MOST_PARAMETERS = 2**17
_MOST_BYTES = 2**38  # of one tensor
_COUNTER = "num_batches_tracked"
_SHOWN = 5


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
    with torch.random.fork_rng(devices=[]), _parameters_counted(), _out_of_memory_as_it_is():
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
        with _parameters_counted(), _out_of_memory_as_it_is():
            module = make()
    return module.eval()


@contextmanager
def _out_of_memory_as_it_is() -> Iterator[None]:
    """Adapters call what a constructor raises a wrong reference; too little memory is not one.

    A tensor larger than any model's is: the configuration asks for it.
    """
    try:
        yield
    except ZooalignError as error:
        cause = error.__cause__
        if cause is not None and is_out_of_memory(cause) and not _is_impossible(cause):
            raise cause from None
        raise


def _is_impossible(error: BaseException) -> bool:
    """Whether one tensor was to be larger than any model's."""
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    return asked is not None and int(asked[1]) > _MOST_BYTES


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
    """``module`` with the tensors of ``state_dict`` as its parameters and buffers, in eval mode.

    Nothing is copied on the CPU if ``dtype`` is None. Tied parameters stay tied.

    Raises
    ------
    CheckpointError
        A key is missing or unexpected, or a shape differs.
    MergeError
        There is no such device.
    """
    require_device(str(device))
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


def state_dict_for(module: nn.Module, checkpoint: LazyTensors, *, where: str = "") -> LazyTensors:
    """The tensors of ``checkpoint`` under the keys of ``module``, lazily and in its order.

    A tied parameter may be stored under one of its names only. A missing
    ``num_batches_tracked`` (checkpoints older than PyTorch 0.4.1) is 0. Buffers that the module
    computes and does not save may be there, and are left out. Dtypes are the
    checkpoint's. ``where`` names the checkpoint in messages.

    Raises
    ------
    CheckpointError
        Keys are missing or unexpected, shapes differ, or tied parameters are stored with different
        values; one message with all of it.
    """
    expected = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    ties = tied_names(module)
    aliases = {name: group for group in ties for name in group}
    origin: dict[str, str | None] = {}
    missing = []
    for key in expected:
        stored = [name for name in (key, *aliases.get(key, ())) if name in checkpoint]
        if stored:
            origin[key] = stored[0]
        elif key.rpartition(".")[2] == _COUNTER:
            origin[key] = None
        else:
            missing.append(key)
    problems = _listed("missing", missing)
    # Older versions of a library saved some buffers that the module computes today.
    computed = {name for name, _ in module.named_buffers()}
    unexpected = [key for key in checkpoint if key not in expected and key not in computed]
    problems += _listed("unexpected", unexpected)
    misshapen = [
        f"{key} {checkpoint.info(name).shape} instead of {tuple(expected[key].shape)}"
        for key, name in origin.items()
        if name is not None and checkpoint.info(name).shape != tuple(expected[key].shape)
    ]
    problems += _listed("of another shape", misshapen)
    packed = [
        f"{key} ({checkpoint.info(name).dtype})"
        for key, name in origin.items()
        if name is not None
        and expected[key].dtype.is_floating_point
        and not (dtype := checkpoint.info(name).dtype).is_floating_point
        and not dtype.is_complex
    ]
    problems += _listed("stored as integers, as quantised ones are", packed)
    problems += _listed("tied, but stored with different values", _untied(ties, checkpoint))
    if problems:
        raise CheckpointError(
            f"{where or 'the checkpoint'} does not fit {type(module).__name__}: "
            f"{'; '.join(problems)}{_prefix_hint(missing, unexpected, where)}"
        )
    infos = {
        key: TensorInfo((), torch.int64) if name is None else checkpoint.info(name)
        for key, name in origin.items()
    }

    def read(key: str) -> Tensor:
        name = origin[key]
        return torch.zeros((), dtype=torch.int64) if name is None else checkpoint[name]

    return LazyTensors(infos, read)


def _prefix_hint(missing: Sequence[str], unexpected: Sequence[str], where: str) -> str:
    """Which names would fit, if something in front of them were taken away."""
    if not missing:
        return ""
    first = missing[0]
    for name in unexpected:
        prefix = name.removesuffix(first)
        if prefix == name or not prefix.endswith("."):
            continue
        if all(f"{prefix}{each}" in unexpected for each in missing):
            advice = f"; name it (?state={prefix[:-1]})" if where.endswith(PICKLE_SUFFIXES) else ""
            return f"; behind '{prefix}' are all that are missing{advice}"
    return ""


def _listed(what: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return [f"{len(items)} {what}: {some_of(items, _SHOWN)}"]


def _untied(ties: Sequence[tuple[str, ...]], checkpoint: LazyTensors) -> list[str]:
    """Pairs of tied parameters that are stored with different values."""
    pairs = []
    for group in ties:
        first, *others = [name for name in group if name in checkpoint] or [""]
        for other in others:
            same = checkpoint.info(first) == checkpoint.info(other)
            if not same or not same_bytes(checkpoint[first], checkpoint[other]):
                pairs.append(f"{first} and {other}")
    return pairs
