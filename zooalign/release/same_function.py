"""Do two state dicts of one architecture compute the same function?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.batches import Batch
from zooalign.merging.calling import Runner
from zooalign.symmetry.precision import LowestPrecision, tolerance

__all__ = ["Comparison", "compare_functions"]

_MOST_DOUBLE = 500_000_000


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
    """Run the module on both state dicts, one after the other, in float64.

    Weights are widened for the comparison only (to float32 where there are more than 500 million):
    the rounding of a narrower run is so large that it would hide mistakes. One widened copy is in
    memory at a time.

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
    count = sum(tensor.numel() for tensor in state.values())
    dtype = torch.float64 if count <= _MOST_DOUBLE else torch.float32
    wide = {name: _widened(tensor, dtype) for name, tensor in state.items()}
    run = Runner.of(module, wide)
    inputs = tuple(_widened(x, dtype) if isinstance(x, Tensor) else x for x in inputs)
    with LowestPrecision() as precision:
        result = run(Batch(inputs, {}, None))
    found = [t.detach().cpu().double() for t in _tensors(result) if t.is_floating_point()]
    if not found or not all(bool(torch.isfinite(t).all()) for t in found):
        raise SpecError(
            f"{type(module).__name__} gives no finite floating output on random inputs, so "
            "functions cannot be compared; check the weights"
        )
    return found, precision.lowest


def _widened(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(items, (str, bytes)) or not hasattr(items, "__iter__"):
        return []
    return [tensor for item in items for tensor in _tensors(item)]
