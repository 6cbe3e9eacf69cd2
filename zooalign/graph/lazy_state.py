"""State dicts whose tensors are read when asked for, and whose shapes and dtypes need no reading.

Asking a :class:`LazyState` for its names, their number, whether it holds one, or for a shape or a
dtype touches no value: only ``state[name]`` reads (and permutes, averages or converts) a tensor.
Nothing is kept, so reading a name twice does the work twice.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor

__all__ = [
    "CastLike",
    "LazyState",
    "LazyTensors",
    "Shared",
    "State",
    "StateView",
    "TensorInfo",
    "Widened",
    "as_real",
    "device_of",
    "float_state",
    "info_of",
    "pieces",
    "same_bytes",
]


# Values of a piece: on the CPU what a cache holds widened, elsewhere what a launch is worth.
_PIECE, _PIECE_ELSEWHERE = 1 << 16, 1 << 20

# A state dict, lazy or in memory: tensors by name.
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor that is not loaded."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """The shape and dtype of a tensor at hand."""
        return cls(tuple(tensor.shape), tensor.dtype)

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's values."""
        return self.numel * self.dtype.itemsize


class LazyState(Mapping[str, Tensor], ABC):
    """A read-only state dict; only ``state[name]`` reads a tensor."""

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor, without reading it where its source says them.

        Raises
        ------
        KeyError
            If there is no such tensor.
        """

    @abstractmethod
    def __contains__(self, name: object) -> bool: ...

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(self.info(name).nbytes for name in self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} tensors, {self.nbytes} bytes>"


def info_of(state: Mapping[str, Tensor], name: str) -> TensorInfo:
    """Shape and dtype of a tensor of any state dict, without reading it where that is lazy."""
    return state.info(name) if isinstance(state, LazyState) else TensorInfo.of(state[name])


class LazyTensors(LazyState):
    """Tensors that a function reads, of shapes and dtypes that are known beforehand."""

    def __init__(self, infos: Mapping[str, TensorInfo], read: Callable[[str], Tensor]) -> None:
        self._infos = dict(infos)
        self._read = read

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        return self._infos[name]

    def read_through(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """The same tensors, each given to ``change(name, tensor)`` when it is read."""
        read, changed = self._read, copy.copy(self)
        changed._read = lambda name: change(name, read(name))
        return changed

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._infos:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos


class StateView(LazyState):
    """The tensors of another state dict, seen in another form: derive and give ``__getitem__``.

    ``info`` is the other's, so a view that changes shapes or dtypes overrides it.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        return info_of(self._state, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __contains__(self, name: object) -> bool:
        return name in self._state


class CastLike(StateView):
    """A state dict in the dtypes of another, converted when read."""

    def __init__(self, state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
        super().__init__(state)
        self._like = like

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        return replace(super().info(name), dtype=info_of(self._like, name).dtype)

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name].to(info_of(self._like, name).dtype)


class Shared(StateView):
    """A state dict whose tensors are read once for all who hold them at one time.

    Nothing is kept: a tensor that nobody holds any more is read anew.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__(state)
        self._held: WeakValueDictionary[str, Tensor] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._held.get(name)
        if tensor is None:
            tensor = self._held[name] = self._state[name]
        return tensor


class Widened(StateView):
    """A state dict to compute with, as :func:`float_state` gives it, converted when read."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device | str) -> None:
        super().__init__(state)
        self._device = device

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        stored = super().info(name)
        return replace(stored, dtype=_computed_in(stored.dtype))

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        return tensor.to(device=self._device, dtype=_computed_in(tensor.dtype))


def _computed_in(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype


def same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether shapes, dtypes and bytes are equal: NaNs are equal to themselves.

    8-bit floats have no ``torch.equal``.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    flat = [t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return one is other or torch.equal(*flat)


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one shape, flattened, in pieces: to widen a large one piece by piece.

    Complex ones are real and imaginary parts in turn.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    size = _PIECE if on_cpu else _PIECE_ELSEWHERE
    return zip(
        *(as_real(tensor.detach()).reshape(-1).split(size) for tensor in tensors), strict=True
    )


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor with a last axis of real and imaginary parts; another as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def device_of(state: Mapping[str, Tensor]) -> torch.device:
    """The device of a state dict's first tensor; the CPU where there is none."""
    return next((tensor.device for tensor in state.values()), torch.device("cpu"))


def float_state(state: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """A state dict to compute with, in memory: values of 16 bits and fewer as float32.

    Each tensor is read once. One that is on the device already and needs no widening is the given
    one, so what a checkpoint maps stays mapped.
    """
    return dict(Widened(state, device))
