"""Do two state dicts of one architecture compute the same function?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.lazy_state import info_of
from zooalign.graph.module_runner import Runner
from zooalign.symmetry.precision import LowestPrecision, relative_errors, tolerance
from zooalign.symmetry.trial import mixes_precisions, named_outputs

__all__ = ["Comparison", "compare_functions"]

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
    *,
    module_of_b: nn.Module | None = None,
) -> Comparison:
    """Run the module (for ``b`` another one, if given) on both state dicts, in float64.

    Weights are widened for the comparison only (to float32 where there are more than 500 million):
    the rounding of a narrower run is so large that it would hide mistakes. One widened copy is in
    memory at a time.

    Raises
    ------
    SpecError
        If one gives no finite floating output, or they give different ones.
    """
    bound = ((module, a), (module if module_of_b is None else module_of_b, b))
    count = max(sum(info_of(state, name).numel for name in state) for state in (a, b))
    if count <= _MOST_DOUBLE:
        try:
            return _compared(bound, inputs, torch.float64)
        except (RuntimeError, SpecError) as error:
            if isinstance(error, RuntimeError) and not mixes_precisions(error):
                raise
    return _compared(bound, inputs, torch.float32)


def _compared(
    bound: Sequence[tuple[nn.Module, Mapping[str, Tensor]]],
    inputs: tuple[Any, ...],
    dtype: torch.dtype,
) -> Comparison:
    precision = LowestPrecision()
    results = []
    for pair in bound:
        # Bound outside the mode: reading float32 weights is not a step that computes in float32.
        run = Runner.of(*pair, dtype)
        with precision:
            results.append([(name, t.cpu()) for name, t in named_outputs(run, inputs)])
        del run  # one widened copy of the weights at a time
    ours, theirs = results
    if [(n, t.shape) for n, t in ours] != [(n, t.shape) for n, t in theirs]:
        raise SpecError("the outputs differ in number, name or shape, so they are not compared")
    errors = relative_errors([t for _, t in ours], [t for _, t in theirs])
    named = tuple((name, error) for (name, _), error in zip(ours, errors, strict=True))
    return Comparison(max(errors), tolerance(precision.lowest), named)
