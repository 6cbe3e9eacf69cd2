"""Call a module on a state dict without changing either.

``torch.func.functional_call`` swaps tensors, yet training flags, hooks and buffers that a forward
pass changes still belong to the module. So a :class:`Runner` works on a copy of the module's
structure that shares its parameters, with copies of its buffers.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zooalign.errors import DataError, MergeError, ZooalignError, is_out_of_memory
from zooalign.graph.batches import Batch
from zooalign.graph.lazy_state import device_of
from zooalign.text import first_line

__all__ = ["Runner", "call_module", "evaluating", "skeleton_of"]

# Counts batches seen in training. Some published checkpoints lack it, and no value depends on it.
_COUNTER = "num_batches_tracked"
_NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


def call_module(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = _NO_KEYWORDS,
) -> Any:
    """Call a module with other tensors, by name, in place of its parameters and buffers.

    The training flags are those of the module, and gradients flow. Names that are not given keep
    the module's tensors.
    """
    if isinstance(module, nn.DataParallel):  # torch refuses it; on one device it is its module
        module, tensors = module.module, {n.removeprefix("module."): t for n, t in tensors.items()}
    # A state dict holds a tensor for each of its names; tying them would want one for all.
    return functional_call(module, dict(tensors), args, dict(kwargs), tie_weights=False)


def evaluating(module: nn.Module) -> AbstractContextManager[None]:
    """The module in eval mode; the training flags are put back afterwards."""
    return in_mode(module, training=False)


@contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """The module in training or eval mode; the training flags are put back afterwards."""
    before = [(part, part.training) for part in module.modules()]
    module.train() if training else module.eval()
    try:
        yield
    finally:
        for part, flag in before:
            part.training = flag


@dataclass(frozen=True)
class Runner:
    """A module bound to a state dict, in eval mode.

    ``module`` is a copy that shares its parameters, free to set flags and hooks on (or the module
    itself, see :meth:`in_place`). ``tensors`` has every parameter and buffer by name, on one
    ``device``, to which batches are moved; buffers are copies. Inputs are cast to ``dtype``, that
    of the parameters; where these have several it is None, and inputs are left as they are.
    ``default_dtype`` is that of what the forward pass creates without naming one.
    """

    module: nn.Module
    tensors: Mapping[str, Tensor]
    device: torch.device
    dtype: torch.dtype | None
    default_dtype: torch.dtype | None = None

    @classmethod
    def of(
        cls, module: nn.Module, state: Mapping[str, Tensor], dtype: torch.dtype | None = None
    ) -> "Runner":
        """Bind a copy of ``module`` to ``state``.

        Of the module's values only buffers outside the state dict are read; of tied names one is
        enough. All floating tensors are cast to ``dtype`` if that is given.

        Raises
        ------
        MergeError
            If names or shapes of the state dict do not fit the module, or the module has a
            buffer outside the state dict that holds no values.
        """
        tensors, device = _bind(module, state)
        if dtype is not None:
            tensors = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
        dtypes = {
            tensors[name].dtype
            for name, _, is_buffer, _ in _slots(module)
            if not is_buffer and tensors[name].is_floating_point()
        }
        inputs = dtypes.pop() if dtype is None and len(dtypes) == 1 else dtype
        return cls(skeleton_of(module), tensors, device, inputs, dtype)

    @classmethod
    def in_place(
        cls, module: nn.Module, state: Mapping[str, Tensor], dtype: torch.dtype
    ) -> "Runner":
        """Bind ``module`` itself, which the caller puts in eval mode, to a whole state dict.

        Nothing is copied or checked: for modules that cannot be copied, and for many runs.
        Buffers outside the state dict are cast to ``dtype``; those that hold no values are left
        alone, as the forward pass may not read them.
        """
        stored = _stored_names(module)
        given = {name: state[stored[name]] for name in stored if stored[name] in state}
        others = {
            name: _cast(buffer, dtype)
            for name, buffer in module.named_buffers(remove_duplicate=False)
            if name not in given and not buffer.is_meta
        }
        return cls(module, {**given, **others}, device_of(state), None, dtype)

    def __call__(self, batch: Batch) -> Any:
        """What the module returns on a batch, without gradients.

        Raises
        ------
        DataError
            The module does not run on it.
        """
        placed = batch.to(self.device, self.dtype)
        with torch.no_grad(), _default_dtype(self.default_dtype):
            try:
                return call_module(self.module, self.tensors, placed.args, placed.kwargs)
            except (ZooalignError, MemoryError):
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                shapes = [tuple(x.shape) for x in placed.args if isinstance(x, Tensor)]
                raise DataError(
                    f"{type(self.module).__name__} does not run on a batch with inputs of shape "
                    f"{', '.join(map(str, shapes)) or 'none'}: {type(error).__name__}: "
                    f"{first_line(error)}"
                ) from error


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def _default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def skeleton_of(module: nn.Module) -> nn.Module:
    """A copy of a module in eval mode that shares its tensors.

    Raises
    ------
    MergeError
        If the module cannot be copied.
    """
    # Tensors in the memo are not copied: they are replaced at every call.
    plain = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    shared = [*module.parameters(), *module.buffers(), *plain]
    try:
        skeleton = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    except Exception as error:
        raise MergeError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "it is run on a copy so that the module is not changed."
        ) from error
    return skeleton.eval()


def _stored_names(module: nn.Module) -> dict[str, str]:
    """The name in the state dict of each parameter and buffer that it holds.

    Wrappers of modules take their prefix away there.
    """
    state = module.state_dict(keep_vars=True)
    named = {id(tensor): name for name, tensor in state.items()}
    return {
        name: name if name in state else named[id(tensor)]
        for name, tensor, _, _ in _slots(module)
        if id(tensor) in named
    }


def _slots(module: nn.Module) -> Iterator[tuple[str, Tensor, bool, bool]]:
    """Name, tensor, whether it is a buffer and whether a state dict holds it."""
    for prefix, owner in module.named_modules(remove_duplicate=False):
        dot = f"{prefix}." if prefix else ""
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                yield dot + name, parameter, False, True
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                yield dot + name, buffer, True, name not in owner._non_persistent_buffers_set


def _bind(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], torch.device]:
    slots, stored = list(_slots(module)), _stored_names(module)
    names_of: dict[int, list[str]] = {}
    for name, tensor, _, persistent in slots:
        if persistent:
            names_of.setdefault(id(tensor), []).append(stored.get(name, name))
    known = {stored.get(name, name) for name, _, _, persistent in slots if persistent}
    extra = [n for n in state if n not in known and not n.endswith("_extra_state")]
    if extra:
        raise MergeError(
            f"the state dict holds '{extra[0]}'{_more(extra)}, which {type(module).__name__} "
            "lacks: it is for another architecture."
        )
    device = next((state[name].device for name in state if name in known), torch.device("cpu"))
    bound: dict[str, Tensor] = {}
    for name, tensor, is_buffer, persistent in slots:
        given = next((n for n in names_of.get(id(tensor), ()) if n in state), None)
        if persistent and stored.get(name, name) in state:
            given = stored.get(name, name)
        if persistent and given is not None:
            value = state[given].to(device)
        elif persistent and not name.endswith(_COUNTER):
            raise MergeError(
                f"the state dict lacks '{name}', which {type(module).__name__} needs: it is of "
                "another architecture or incomplete."
            )
        elif not tensor.is_meta:
            value = tensor.detach().to(device)
        elif persistent:
            value = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
        else:
            raise MergeError(
                f"buffer '{name}' of {type(module).__name__} is not in the state dict and on the "
                "meta device, so its values are unknown. Build the module on a real device."
            )
        if value.shape != tensor.shape:
            raise MergeError(
                f"'{name}' has shape {tuple(value.shape)} in the state dict and "
                f"{tuple(tensor.shape)} in {type(module).__name__}."
            )
        bound[name] = value.clone() if is_buffer else value
    return bound, device


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
