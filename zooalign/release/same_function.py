"""Do two state dicts of one architecture compute the same function?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.batches import Batch
from zooalign.merging.calling import Runner
from zooalign.symmetry.verify import tolerance

__all__ = ["Comparison", "compare_functions"]


@dataclass(frozen=True)
class Comparison:
    """Largest |difference| of outputs over the largest |output|, and what rounding explains."""

    max_relative_error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether rounding alone explains the difference."""
        return self.max_relative_error <= self.tolerance


def compare_functions(
    module: nn.Module,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Comparison:
    """Run the module on both state dicts, one after the other, in at least float32.

    16-bit weights are widened for the comparison only: the rounding of a 16-bit run is so large
    that it would hide mistakes. One widened copy is in memory at a time.

    Raises
    ------
    SpecError
        If the module gives no finite floating output.
    """
    first, lowest = _outputs(module, a, inputs)
    second, _ = _outputs(module, b, inputs)
    error = max(
        float((x - y).abs().max()) / max(float(x.abs().max()), torch.finfo(torch.float64).tiny)
        for x, y in zip(first, second, strict=True)
        if x.numel()
    )
    return Comparison(error, tolerance(lowest))


def _outputs(
    module: nn.Module, state: Mapping[str, Tensor], inputs: tuple[Any, ...]
) -> tuple[list[Tensor], torch.dtype]:
    wide = {name: _widened(tensor) for name, tensor in state.items()}
    run = Runner.of(module, wide)
    result = run(Batch(inputs, {}, None))
    found = [t.detach().cpu().double() for t in _tensors(result) if t.is_floating_point()]
    if not found or not all(bool(torch.isfinite(t).all()) for t in found):
        raise SpecError(
            f"{type(module).__name__} gives no finite floating output on random inputs, so "
            "functions cannot be compared; check the weights"
        )
    dtypes = [t.dtype for t in wide.values() if t.is_floating_point()]
    return found, max(dtypes or [torch.float32], key=lambda dtype: torch.finfo(dtype).eps)


def _widened(tensor: Tensor) -> Tensor:
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < 4
    return tensor.float() if narrow else tensor


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(items, (str, bytes)) or not hasattr(items, "__iter__"):
        return []
    return [tensor for item in items for tensor in _tensors(item)]
