"""Precision of values: several in one, results rounded to theirs, values that are not finite."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.lazy_state import StateView, TensorInfo, info_of, pieces
from zooalign.kinds import PRECISIONS
from zooalign.text import some_of

__all__ = [
    "Rounded",
    "dtype_named",
    "in_widest_dtypes",
    "is_finite",
    "most_used_dtype",
    "rounded",
    "warn_of_dtypes",
]

State = Mapping[str, Tensor]
_SHOWN = 3


def dtype_named(name: object) -> torch.dtype | None:
    """The dtype of a name, such as ``bfloat16``, or a dtype itself; None for None.

    Raises
    ------
    MergeError
        It is none of those that weights are written in.
    """
    if name is None:
        return None
    for text in PRECISIONS:
        dtype: torch.dtype = getattr(torch, text)
        if name in (text, dtype):
            return dtype
    raise MergeError(f"dtype is {name}; there are {', '.join(PRECISIONS)}")


def in_widest_dtypes(
    states: Sequence[State], at_least: torch.dtype | None = None
) -> Sequence[State]:
    """State dicts with each tensor in a dtype that holds every one's values exactly.

    bfloat16 and float16 have float32 in common. ``at_least`` is a dtype whose values floating-point
    tensors are to hold too. Integers are left as they are.
    """
    wider = _widest(states, at_least)
    return [_InDtypes(state, wider) for state in states] if wider else states


def warn_of_dtypes(states: Sequence[State], *, asked_for: object = None) -> None:
    """Say that tensors differ in precision, and which one they are averaged in.

    Nothing is said where one was ``asked_for``.

    Warns
    -----
    ZooalignWarning
        If some do.
    """
    wider = _widest(states) if asked_for is None else {}
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


def most_used_dtype(state: State) -> torch.dtype | None:
    """The floating dtype that most values are in; None where there are none."""
    counts: Counter[torch.dtype] = Counter()
    for name in state:
        info = info_of(state, name)
        if info.dtype.is_floating_point:
            counts[info.dtype] += info.numel
    return max(counts, key=counts.__getitem__, default=None)


def rounded(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A result in its dtype.

    Raises
    ------
    MergeError
        A finite value is infinite there.
    """
    result = tensor.to(dtype)
    narrower = dtype.itemsize <= tensor.dtype.itemsize and dtype != tensor.dtype
    if narrower and not is_finite(result) and is_finite(tensor):
        raise MergeError(
            f"'{name}' has values up to {float(tensor.abs().max()):.3g}, which {_short(dtype)} "
            "does not hold: merge in a wider dtype (--dtype, dtype=)"
        )
    return result


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither a NaN nor an infinity; integers never do."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return all(_has_finite_ends(piece) for (piece,) in pieces(tensor) if piece.numel())


def _has_finite_ends(values: Tensor) -> bool:
    """Whether the least and the greatest value are finite, and so all: a NaN would be both."""
    if values.dtype.itemsize == 1:  # torch cannot compare 8-bit floats
        values = values.float()
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(values))


def _widest(states: Sequence[State], at_least: torch.dtype | None = None) -> dict[str, torch.dtype]:
    """The common dtype of tensors that are not all of it, by name."""
    wider = {}
    for name in states[0] if states else ():
        dtypes = {info_of(state, name).dtype for state in states if name in state}
        if not all(dtype.is_floating_point or dtype.is_complex for dtype in dtypes):
            continue
        if at_least is not None and all(dtype.is_floating_point for dtype in dtypes):
            dtypes.add(at_least)
        if len(dtypes) > 1:
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


class Rounded(StateView):
    """A state dict with its floating-point tensors in one dtype, converted when they are read.

    Complex tensors and integers are left as they are.

    Raises
    ------
    MergeError
        When a tensor is read of which a finite value is infinite there.
    """

    def __init__(self, state: State, dtype: torch.dtype) -> None:
        super().__init__(state)
        self._dtype = dtype

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        info = super().info(name)
        return TensorInfo(info.shape, self._dtype) if info.dtype.is_floating_point else info

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        return rounded(name, tensor, self._dtype) if tensor.is_floating_point() else tensor
