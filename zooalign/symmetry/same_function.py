"""Do two state dicts of one architecture compute the same function?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.batches import Batch
from zooalign.graph.module_runner import Runner
from zooalign.symmetry.precision import LowestPrecision, tolerance

__all__ = ["Comparison", "compare_functions", "compare_modules"]

_MOST_DOUBLE = 500_000_000


@dataclass(frozen=True)
class Comparison:
    """Largest |difference| of outputs over the largest |output|, and what rounding explains.

    ``outputs`` has the same per output: its place in the result (``0``, ``logits``, ``aux.1``;
    empty where the result is one tensor) and its error.
    """

    max_relative_error: float
    tolerance: float
    outputs: tuple[tuple[str, float], ...] = ()

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
    return compare_modules(module, a, module, b, inputs)


def compare_modules(
    first: nn.Module,
    a: Mapping[str, Tensor],
    second: nn.Module,
    b: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Comparison:
    """Run two modules, each on its own state dict. As :func:`compare_functions`.

    Raises
    ------
    SpecError
        If one gives no finite floating output, or they give different ones.
    """
    ours, lowest = _outputs(first, a, inputs)
    theirs, other = _outputs(second, b, inputs)
    if [(n, t.shape) for n, t in ours] != [(n, t.shape) for n, t in theirs]:
        raise SpecError("the outputs differ in number, name or shape, so they are not compared")
    errors = tuple(
        (name, _relative(x, y)) for (name, x), (_, y) in zip(ours, theirs, strict=True) if x.numel()
    )
    least = max((lowest, other), key=lambda dtype: torch.finfo(dtype).eps)
    return Comparison(max(error for _, error in errors), tolerance(least), errors)


def _relative(x: Tensor, y: Tensor) -> float:
    largest = max(float(x.abs().max()), torch.finfo(torch.float64).tiny)
    return float((x - y).abs().max()) / largest


def _outputs(
    module: nn.Module, state: Mapping[str, Tensor], inputs: tuple[Any, ...]
) -> tuple[list[tuple[str, Tensor]], torch.dtype]:
    count = sum(tensor.numel() for tensor in state.values())
    dtype = torch.float64 if count <= _MOST_DOUBLE else torch.float32
    wide = {name: _widened(tensor, dtype) for name, tensor in state.items()}
    run = Runner.of(module, wide)
    inputs = tuple(_widened(x, dtype) if isinstance(x, Tensor) else x for x in inputs)
    with LowestPrecision() as precision:
        result = run(Batch(inputs, {}, None))
    found = [(n, t.detach().cpu().double()) for n, t in _tensors(result) if t.is_floating_point()]
    if not found or not all(bool(torch.isfinite(t).all()) for _, t in found):
        raise SpecError(
            f"{type(module).__name__} gives no finite floating output on random inputs, so "
            "functions cannot be compared; check the weights"
        )
    return found, precision.lowest


def _widened(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return []
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return [
        found
        for key, item in items
        for found in _tensors(item, f"{name}.{key}" if name else str(key))
    ]
