"""Precision of values: several in one, results rounded to theirs, values that are not finite."""

import warnings
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.lazy_state import StateView, TensorInfo, info_of, pieces
from zooalign.text import some_of

__all__ = ["in_widest_dtypes", "is_finite", "rounded", "warn_of_dtypes"]

State = Mapping[str, Tensor]
_SHOWN = 3


def in_widest_dtypes(states: Sequence[State]) -> Sequence[State]:
    """State dicts with each tensor in a dtype that holds every one's values exactly.

    bfloat16 and float16 have float32 in common. Integers are left as they are.
    """
    wider = _widest(states)
    return [_InDtypes(state, wider) for state in states] if wider else states


def warn_of_dtypes(states: Sequence[State]) -> None:
    """Say that tensors differ in precision, and which one they are averaged in.

    Warns
    -----
    ZooalignWarning
        If some do.
    """
    wider = _widest(states)
    if not wider:
        return
    told = [
        f"'{name}' ({', '.join(_short(info_of(s, name).dtype) for s in states if name in s)})"
        for name in wider
    ]
    common = ", ".join(sorted({_short(dtype) for dtype in wider.values()}))
    warnings.warn(
        f"{len(told)} tensors differ in dtype between the models: {some_of(told, _SHOWN)}; they "
        f"are averaged, and given, in {common}",
        ZooalignWarning,
        stacklevel=3,
    )


def rounded(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A result in its dtype.

    Raises
    ------
    MergeError
        A finite value is infinite there.
    """
    result = tensor.to(dtype)
    narrower = dtype.itemsize < tensor.dtype.itemsize and dtype.is_floating_point
    if narrower and not is_finite(result) and is_finite(tensor):
        raise MergeError(
            f"'{name}' has values up to {float(tensor.abs().max()):.3g}, which {_short(dtype)} "
            "does not hold: give the models in a wider dtype (model.float())"
        )
    return result


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither a NaN nor an infinity; integers never do."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return all(_has_finite_ends(piece) for (piece,) in pieces(real) if piece.numel())


def _has_finite_ends(values: Tensor) -> bool:
    """Whether the least and the greatest value are finite, and so all: a NaN would be both."""
    if values.dtype.itemsize == 1:  # torch cannot compare 8-bit floats
        values = values.float()
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(values))


def _widest(states: Sequence[State]) -> dict[str, torch.dtype]:
    """The common dtype of tensors that differ in it, by name."""
    wider = {}
    for name in states[0] if states else ():
        dtypes = [info_of(state, name).dtype for state in states if name in state]
        if len(set(dtypes)) > 1 and all(dtype.is_floating_point for dtype in dtypes):
            exact = [torch.float32 if dtype.itemsize < 2 else dtype for dtype in dtypes]
            wider[name] = reduce(torch.promote_types, exact)
    return wider


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _InDtypes(StateView):
    """A state dict with some tensors in other dtypes, converted when they are read."""

    def __init__(self, state: State, dtypes: Mapping[str, torch.dtype]) -> None:
        super().__init__(state)
        self._dtypes = dtypes

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        info = super().info(name)
        return TensorInfo(info.shape, self._dtypes.get(name, info.dtype))

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        return tensor.to(self._dtypes.get(name, tensor.dtype))
