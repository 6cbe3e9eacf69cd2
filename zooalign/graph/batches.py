"""The one form of data that matching and merging read: an iterable of batches.

A batch is a pair ``(inputs, targets)`` (tuple or list, as a ``DataLoader`` gives it), a bare
tensor or a list of one (inputs alone, enough for calibration), or a mapping of keyword inputs
whose ``labels``, if any, are the targets. ``inputs`` is a tensor, a tuple or list of positional
arguments, or a mapping of keyword arguments; several inputs without targets are
``((x1, x2), None)``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.data import Dataset, IterableDataset

from zooalign.errors import DataError

__all__ = ["Batch", "read_batches", "require_repeatable"]


@dataclass(frozen=True)
class Batch:
    """Positional and keyword inputs of one call, and its targets (None where there are none)."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    targets: Any

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Batch":
        """The batch on a device; floating-point inputs (not targets) in ``dtype`` if given."""
        return Batch(
            tuple(_placed(x, device, dtype) for x in self.args),
            {name: _placed(x, device, dtype) for name, x in self.kwargs.items()},
            _placed(self.targets, device, None),
        )


def read_batches(batches: Iterable[Any]) -> Iterator[Batch]:
    """Each element of an iterable as a :class:`Batch`.

    Raises
    ------
    DataError
        For an element of another form, without rows or with NaN in its inputs, if there is none at
        all, or if it is a tensor, an array, a module or a dataset of single examples.
    """
    _require_batches(batches)
    index = -1
    for index, batch in enumerate(batches):
        parsed = _parse(batch, index)
        _refuse_unusable(parsed, index)
        yield parsed
    if index < 0:
        raise DataError(
            "the data holds no batch. Check the path or loader (and that an iterator was not "
            "used up before)."
        )


def require_repeatable(
    batches: Iterable[Any], what: str, how_often: str = "at every alpha"
) -> None:
    """Refuse an iterator where the data is read more than once.

    Raises
    ------
    DataError
        If ``batches`` can be read once only.
    """
    if isinstance(batches, Iterator):
        raise DataError(
            f"{what} is a {type(batches).__name__}, which can be read once, and it is read "
            f"{how_often}. Pass a list of batches or a DataLoader."
        )


def _require_batches(batches: Any) -> None:
    """Refuse what can be iterated over and would give rows for batches."""
    what = f"data is a {type(batches).__name__}"
    if isinstance(batches, Tensor) or type(batches).__module__ == "numpy":
        give = "[data]" if isinstance(batches, Tensor) else "[torch.from_numpy(data)]"
        raise DataError(f"{what}, and a list of batches is needed: pass {give}, or a DataLoader.")
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        raise DataError(
            f"{what}, whose examples are single: pass DataLoader(data, batch_size=128)."
        )
    if isinstance(batches, nn.Module) or not isinstance(batches, Iterable):
        raise DataError(f"{what}: pass a list of batches or a DataLoader.")


def _parse(batch: Any, index: int) -> Batch:
    inputs, targets = batch, None
    if isinstance(batch, Mapping):
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        targets = batch.get("labels")
    elif isinstance(batch, (tuple, list)):
        inputs, targets = (*batch, None)[:2] if len(batch) in (1, 2) else (None, None)
    if isinstance(inputs, Tensor):
        return Batch((inputs,), {}, targets)
    if isinstance(inputs, Mapping):
        return Batch((), dict(inputs), targets)
    if isinstance(inputs, (tuple, list)):
        return Batch(tuple(inputs), {}, targets)
    if type(inputs).__module__ == "numpy":
        raise DataError(
            f"batch {index} holds a numpy array; batches are of tensors: torch.from_numpy(array)."
        )
    form = type(batch).__name__
    form += f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise DataError(
        f"batch {index} is a {form}; a batch is a pair (inputs, targets), a tensor of inputs, "
        "or a mapping of keyword inputs."
    )


def _refuse_unusable(batch: Batch, index: int) -> None:
    named = [*((f"input {n}", x) for n, x in enumerate(batch.args)), *batch.kwargs.items()]
    tensors = [x for _, x in named if isinstance(x, Tensor) and x.ndim]
    if tensors and not any(len(x) for x in tensors):
        raise DataError(f"batch {index} holds no example: leave it out")
    for name, value in named:
        # Infinities are meant where they mask.
        if isinstance(value, Tensor) and value.is_floating_point() and value.isnan().any():
            rows = value.isnan().reshape(len(value), -1).any(1) if value.ndim else [True]
            raise DataError(
                f"batch {index} holds NaN in {name} ({int(sum(rows))} of {len(rows)} rows): leave "
                "such rows out"
            )


def _placed(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    def place(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    return tree_map_only(Tensor, place, value)
