"""Tensors that are read by each operator that uses them, and dropped after it.

A module that is run with such parameters holds one operator's at a time, however many it has.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from zooalign.graph.lazy_state import StateView, TensorInfo, device_of

__all__ = ["ReadWhenUsed"]


class ReadWhenUsed(StateView):
    """A state dict whose tensors have no memory: operators get them as they are read.

    Floating tensors are of ``dtype``. What an operator writes to one is lost.
    """

    def __init__(self, state: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__(state)
        self._dtype, self._device = dtype, device_of(state)

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        stored = super().info(name)
        return replace(stored, dtype=self._dtype) if stored.dtype.is_floating_point else stored

    def __getitem__(self, name: str) -> Tensor:
        info = self.info(name)
        tensor: Tensor = _UNREAD._make_wrapper_subclass(
            _UNREAD, info.shape, dtype=info.dtype, device=self._device
        )
        tensor.__dict__["read"] = lambda: self._state[name].to(info.dtype)
        return tensor


def _run(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Run an operator on what its tensors are when they are read."""
    read, named = tree_map_only(cls, lambda tensor: tensor.read(), (args, kwargs or {}))
    return func(*read, **named)


# Operators are looked at, not the functions that call them. Tensor's stub has another signature
# for what torch calls, so the class is not written as one.
_UNREAD: Any = type(
    "Unread",
    (Tensor,),
    {
        "__torch_dispatch__": classmethod(_run),
        "__torch_function__": torch._C._disabled_torch_function_impl,
    },
)
