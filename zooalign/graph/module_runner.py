"""Call a module on a state dict without touching either.

``torch.func.functional_call`` swaps tensors, yet training flags, hooks and buffers that a forward
pass changes still belong to the module. Here a copy of the module's structure that shares its
parameters stands in for it, and every buffer is a copy.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zooalign.errors import MergeError
from zooalign.graph.batches import Batch

__all__ = ["Runner"]

# Counts batches seen in training; several published checkpoints lack it, and it bears on no value.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Runner:
    """A module bound to a state dict, in eval mode.

    Attributes
    ----------
    skeleton:
        A copy of the module that shares its parameters: free to set flags and hooks on.
    tensors:
        Every parameter and buffer by name, on one device; buffers are copies.
    device:
        Device of the state dict's first tensor. Batches are moved there.
    dtype:
        The floating dtype of the parameters, to which inputs are cast; None if there are
        several, and inputs are left as they are.
    """

    skeleton: nn.Module
    tensors: Mapping[str, Tensor]
    device: torch.device
    dtype: torch.dtype | None

    @classmethod
    def of(cls, module: nn.Module, state: Mapping[str, Tensor]) -> "Runner":
        """Bind ``module`` to ``state``.

        Raises
        ------
        MergeError
            If names or shapes of the state dict do not fit the module, or the module has a
            buffer outside the state dict that holds no values.
        """
        tensors, device = _bind(module, state)
        dtypes = {
            tensors[name].dtype
            for name, _ in module.named_parameters()
            if tensors[name].is_floating_point()
        }
        return cls(_skeleton(module), tensors, device, dtypes.pop() if len(dtypes) == 1 else None)

    def __call__(self, batch: Batch) -> Any:
        """What the module returns on a batch, without gradients."""
        placed = batch.to(self.device, self.dtype)
        with torch.no_grad():
            return functional_call(
                self.skeleton,
                dict(self.tensors),
                placed.args,
                dict(placed.kwargs),
                tie_weights=False,
            )


def _skeleton(module: nn.Module) -> nn.Module:
    # Tensors in the memo are not copied; they are replaced at every call anyway.
    held = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    shared = [*module.parameters(), *module.buffers(), *held]
    try:
        skeleton = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    except Exception as error:
        raise MergeError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "evaluation works on a copy so that the module stays as it is."
        ) from error
    return skeleton.eval()


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
    slots = list(_slots(module))
    names_of: dict[int, list[str]] = {}
    for name, tensor, _, persistent in slots:
        if persistent:
            names_of.setdefault(id(tensor), []).append(name)
    known = {name for name, _, _, persistent in slots if persistent}
    extra = [n for n in state if n not in known and not n.endswith("_extra_state")]
    if extra:
        raise MergeError(
            f"the state dict holds '{extra[0]}'{_more(extra)}, which {type(module).__name__} "
            "lacks: it is of another architecture."
        )
    device = next((state[name].device for name in state if name in known), torch.device("cpu"))
    bound: dict[str, Tensor] = {}
    for name, tensor, is_buffer, persistent in slots:
        given = next((n for n in names_of.get(id(tensor), ()) if n in state), None)
        if persistent and name in state:
            given = name
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
