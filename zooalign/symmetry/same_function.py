"""Do two state dicts of one architecture compute the same function?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError, TraceError
from zooalign.graph.lazy_state import StateView, TensorInfo, info_of
from zooalign.graph.module_runner import Runner
from zooalign.graph.read_when_used import ReadWhenUsed
from zooalign.symmetry.classes.elements import Element, Mapped, SpecClasses
from zooalign.symmetry.precision import LowestPrecision, relative_errors, tolerance
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.trial import mixes_precisions, named_outputs
from zooalign.symmetry.verify import verify

__all__ = ["Comparison", "compare_functions", "compare_mapped", "compare_permuted"]

_MOST_DOUBLE = 500_000_000
# Bytes of widened weights that are held for a run.
_MOST_HELD = 100_000_000


@dataclass(frozen=True)
class Comparison:
    """Largest |difference| of outputs over the largest |output|, and what rounding explains.

    ``outputs`` has the same per output: its place in the result (``0``, ``logits``, ``aux.1``;
    empty where the result is one tensor) and its error. ``proof`` says, of a permuted state dict
    with another result, that the permutation is proved all the same; empty where it is not.
    ``rounding`` is the error that comes from storing mapped weights in their dtype, where more was
    done than to permute them; the error beside it is without that.
    """

    max_relative_error: float
    tolerance: float
    outputs: tuple[tuple[str, float], ...] = ()
    proof: str = ""
    rounding: float = 0.0

    @property
    def explained(self) -> bool:
        """Whether rounding alone explains the difference."""
        return self.max_relative_error <= self.tolerance

    @property
    def ok(self) -> bool:
        """Whether they compute the same function: rounding explains it, or it is proved."""
        return self.explained or bool(self.proof)


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
    the rounding of a narrower run is so large that it would hide mistakes. Of large models one
    operator's weights are read and widened at a time.

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


def compare_permuted(
    module: nn.Module,
    spec: PermutationSpec,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Comparison:
    """Compare a state dict with itself permuted: ``after`` is ``before`` under a member of a spec.

    Where rounding does not explain a difference, the spec is asked for its proof: very deep
    networks amplify rounding, and random operators give each unit another number.

    Raises
    ------
    SpecError
        As :func:`compare_functions`.
    """
    comparison = compare_functions(module, before, after, inputs)
    if comparison.explained or not _traced_constants(module, spec, before):
        return comparison
    try:
        proof = verify(module, spec, inputs)
    except (SpecError, TraceError):
        return comparison
    if not proof.ok:
        return comparison
    words = (
        f"outputs differ by {comparison.max_relative_error:.3g} on these weights, rounding in one "
        f"operator explains {comparison.tolerance:.3g}; the permutation is proved at each of "
        f"{proof.operators} operators, so the network amplifies rounding or draws numbers"
    )
    return replace(comparison, proof=words)


def compare_mapped(
    module: nn.Module,
    classes: SpecClasses,
    element: Element,
    state: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Comparison:
    """Compare a state dict with itself under an element of its classes.

    The element is judged on weights in float64, where rounding hides nothing. ``rounding`` is what
    storing the result in the dtypes of the state dict adds.

    Raises
    ------
    SpecError
        As :func:`compare_functions`; if the element is not for this state dict.
    """
    wide = _Widened(state)
    after = Mapped(classes, element, wide)
    comparison = compare_permuted(module, classes.spec, wide, after, inputs)
    stored = compare_functions(module, state, Mapped(classes, element, state), inputs)
    return replace(comparison, rounding=stored.max_relative_error)


class _Widened(StateView):
    """Real numbers of a state dict in float64, when read."""

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        info = super().info(name)
        return replace(info, dtype=torch.float64) if info.dtype.is_floating_point else info

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        return tensor.double() if tensor.is_floating_point() else tensor


def _traced_constants(
    module: nn.Module, spec: PermutationSpec, state: Mapping[str, Tensor]
) -> bool:
    """Whether numbers that are not real, which a proof takes from the module, are those there."""
    return all(
        name not in state or torch.equal(state[name].cpu(), tensor.cpu())
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
        and not (tensor.is_meta or tensor.is_floating_point() or tensor.is_complex())
        and name not in spec.unused
    )


def _compared(
    bound: Sequence[tuple[nn.Module, Mapping[str, Tensor]]],
    inputs: tuple[Any, ...],
    dtype: torch.dtype,
) -> Comparison:
    precision = LowestPrecision()
    results = []
    for own_module, state in bound:
        # Bound outside the mode: reading float32 weights is not a step that computes in float32.
        late = ReadWhenUsed(state, dtype)
        run = Runner.of(own_module, state if late.nbytes <= _MOST_HELD else late, dtype)
        with precision:
            results.append([(name, t.cpu()) for name, t in named_outputs(run, inputs)])
        del run  # one widened copy of the weights at a time
    ours, theirs = results
    if [(n, t.shape) for n, t in ours] != [(n, t.shape) for n, t in theirs]:
        raise SpecError("the outputs differ in number, name or shape, so they are not compared")
    errors = relative_errors([t for _, t in ours], [t for _, t in theirs])
    named = tuple((name, error) for (name, _), error in zip(ours, errors, strict=True))
    return Comparison(max(errors), tolerance(precision.lowest), named)
