"""Merge state dicts of one architecture whose permutations are known, and prove permutations.

The core under :func:`zooalign.merge` and ``zooalign merge``: both differ only in where state dicts
come from and go to.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from zooalign.errors import DataError, MergeError, SpecError, ZooalignWarning
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import Capture, capture
from zooalign.graph.dtypes import Rounded, rounded
from zooalign.graph.lazy_state import State, device_of, float_state, info_of, same_bytes
from zooalign.merging.combine import Combination, combined
from zooalign.merging.layers import find_layers
from zooalign.merging.refit import RefitResult, RefitSettings, refit
from zooalign.merging.repair import repair as repair_units
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.progress import Progress, silent
from zooalign.symmetry import Element, Permutation, PermutationSpec, Permuted, SpecClasses
from zooalign.symmetry.precision import tolerance
from zooalign.symmetry.same_function import Comparison, compare_mapped, compare_permuted
from zooalign.symmetry.training_only import left_behind
from zooalign.text import some_of

__all__ = ["Correction", "MergedState", "StatisticsOutcome", "merge_states", "prove"]

StatisticsOutcome = Literal["reset", "stale", "repaired", "none"]

_NO_REFIT = RefitSettings(method="none")
# Names in one warning.
_NAMED = 5


@dataclass(frozen=True)
class Correction:
    """What to do about what averaging breaks.

    ``reset`` recomputes running statistics, where the architecture has them. ``refit`` fits the
    averaged weights to what the parents compute (:mod:`zooalign.merging.refit`), and resets on the
    way. ``repair`` is REPAIR (Jordan et al. 2211.08403) of the layers that no batch normalisation
    follows, running statistics reset in the same pass. The default ``device`` is the first state
    dict's.

    Raises
    ------
    MergeError
        For a refit that is asked for by name together with what it makes needless (``repair``)
        or includes (``reset`` turned off).
    """

    reset: bool = True
    repair: bool = False
    device: torch.device | str | None = None
    refit: RefitSettings = _NO_REFIT

    def __post_init__(self) -> None:
        if self.refit.method in ("auto", "none"):
            return
        if self.repair:
            raise MergeError(
                f"a refit ({self.refit.method}) gives units the statistics that REPAIR would: give "
                "repair or refit, not both (--repair, --refit)"
            )
        if not self.reset:
            raise MergeError(
                f"a refit ({self.refit.method}) recomputes running statistics layer by layer: "
                "leave reset on, or refit nothing (--no-reset, --refit none)"
            )

    @property
    def refits(self) -> bool:
        """Whether weights may be refitted; by ``auto`` not where REPAIR takes that place."""
        return self.refit.method != "none" and self.reset and not self.repair


@dataclass(frozen=True, eq=False)
class MergedState:
    """The average of state dicts.

    Attributes
    ----------
    state:
        Lazy, so that it can be written without a copy in memory, unless something was recomputed.
    statistics:
        What became of normalisation statistics: ``reset`` on the data; ``stale``, the average of
        the parents', which does not fit the merged weights; ``repaired`` (REPAIR); or ``none``,
        where the architecture has none.
    recomputed:
        Names of the tensors that are not the average of the parents'.
    refit:
        What was refitted and how; None without a refit.
    """

    state: State
    weights: tuple[float, ...]
    statistics: StatisticsOutcome
    recomputed: tuple[str, ...] = ()
    refit: RefitResult | None = None


def merge_states(
    module: nn.Module,
    spec: PermutationSpec,
    parents: Sequence[State],
    *,
    weights: Sequence[float] | Combination | None = None,
    data: Iterable[object] | None = None,
    correction: Correction = Correction(),
    dtype: torch.dtype | None = None,
    progress: Progress = silent,
) -> MergedState:
    """Average aligned state dicts, and correct what averaging breaks.

    ``weights`` may also be another way to combine them. Calibration ``data`` is read several times;
    without it nothing is corrected. The result is rounded to ``dtype`` once, if it is given.

    Raises
    ------
    SpecError
        If REPAIR finds no layer to repair.
    DataError, MergeError
        As for :func:`~zooalign.merging.interpolate.average` and what corrects.
    """
    precise = combined(parents, weights, dtype)
    average = precise if dtype is None else Rounded(precise, dtype)
    weights_used = precise.weights
    running = has_running_statistics(module)
    if isinstance(weights, Combination) and weights.average is None:
        correction = _without_refit(correction, weights)
    captured = None if data is None else _captured(module, spec, data, correction)
    if data is None or (captured is None and not (running and correction.reset)):
        return MergedState(average, weights_used, "stale" if running else "none")
    averaged = dict(average)
    device = device_of(averaged) if correction.device is None else correction.device
    before = float_state(averaged, device)
    floats = [float_state(parent, device) for parent in parents] if captured is not None else []
    statistics: StatisticsOutcome = "reset" if running else "none"
    refitted = None
    if captured is not None and correction.refits:
        refitted = refit(
            *(captured, floats, weights_used, data, correction.refit),
            start=before,
            progress=progress,
        )
        after = refitted.state
    # Where every layer is followed by a normalisation, REPAIR is a reset and no more.
    elif captured is None or (running and not find_layers(captured)[0]):
        after = reset_statistics(module, before, data)
    else:
        statistics = "repaired"
        result = repair_units(captured, before, floats, weights_used, data)
        if not result.repaired:
            raise SpecError("REPAIR found no layer that it can repair: merge without it")
        after = dict(result.state)
    state = {
        name: rounded(name, after[name].detach().to(tensor.device), tensor.dtype)
        for name, tensor in averaged.items()
    }
    recomputed = tuple(n for n, tensor in averaged.items() if not same_bytes(state[n], tensor))
    return MergedState(state, weights_used, statistics, recomputed, refitted)


def _without_refit(correction: Correction, combination: Combination) -> Correction:
    """A refit is to the parents' mean, which a combination of another kind does not aim at."""
    if correction.refit.method not in ("auto", "none"):
        raise MergeError(
            f"a refit ({correction.refit.method}) fits the mean of what the parents compute, and "
            f"{combination.method} is another combination: refit nothing (--refit none)"
        )
    return replace(correction, refit=_NO_REFIT)


def _captured(
    module: nn.Module, spec: PermutationSpec, data: Iterable[object], correction: Correction
) -> Capture | None:
    """The graph that a refit or REPAIR follows; None where neither is to be done."""
    repairs = correction.repair and (correction.reset or not has_running_statistics(module))
    if not (repairs or correction.refits):
        return None
    batch = next(read_batches(data))
    if batch.kwargs:
        if correction.refit.method == "auto" and not repairs:
            return None
        raise DataError(
            "batches are mappings of keyword inputs, and REPAIR and a refit follow the graph, "
            "which is traced with positional ones: give ((x1, x2), targets), or wrap the module"
        )
    # Values do not matter to a trace, so 16-bit models see the float32 inputs they run on.
    return capture(module, batch.args, allow_value_dependent=spec.value_dependent)


def prove(
    module: nn.Module,
    spec: PermutationSpec,
    permutation: Permutation,
    state: State,
    inputs: tuple[object, ...],
    *,
    element: Element | None = None,
    name: str = "the model",
) -> Comparison:
    """Run the module on a state dict and on its permuted form, and compare the outputs.

    Where nothing moves, nothing is run. Where outputs differ, the spec is to be proved operator by
    operator. ``element`` is what is applied in place of the permutation, where there is one.
    ``name`` is the model's, for messages.

    Warns
    -----
    ZooalignWarning
        If outputs differ and the permutation is proved; if parameters that only training reads
        stay in an order that the permutation changes.

    Raises
    ------
    SpecError
        If they compute different functions: a mistake in zooalign, or in a plugin's operator rule;
        if what an element makes of the weights does not fit their dtype.
    """
    if permutation.is_identity and (element is None or element.is_identity):
        return Comparison(0.0, tolerance(torch.float64))
    if element is None:
        permuted = Permuted(spec, permutation, state)
        comparison = compare_permuted(module, spec, state, permuted, inputs)
    else:
        classes = SpecClasses.of(spec, element.symmetries)
        comparison = compare_mapped(module, classes, element, state, inputs)
        _require_small_rounding(comparison, state, name)
    if comparison.proof:
        warnings.warn(f"'{name}' permuted: {comparison.proof}", ZooalignWarning, stacklevel=2)
    if not comparison.ok:
        raise SpecError(
            f"'{name}' permuted computes something else than before (relative error "
            f"{comparison.max_relative_error:.3g}, rounding explains {comparison.tolerance:.3g}), "
            f"and it is not proved operator by operator: the spec {spec.hash[:12]} is wrong for "
            f"{type(module).__name__}, and nothing was "
            "written. Run `zooalign verify` or zooalign.verify on it and report what it says"
        )
    changed = permutation if element is None else element.touched
    left = left_behind(module, spec, changed, inputs)
    if left:
        warnings.warn(_only_in_training(name, left), ZooalignWarning, stacklevel=2)
    return comparison


def _require_small_rounding(comparison: Comparison, state: State, name: str) -> None:
    """Raise SpecError where storing what an element makes of weights changes what they compute."""
    dtypes = {info_of(state, n).dtype for n in state}
    real = [dtype for dtype in dtypes if dtype.is_floating_point]
    allowed = max((tolerance(dtype) for dtype in real), default=0.0)
    if not comparison.rounding <= allowed:
        raise SpecError(
            f"'{name}' mapped and rounded to the dtypes of its weights computes something else "
            f"than before (relative error {comparison.rounding:.3g}, accepted: {allowed:.3g}): "
            "nothing was written. Use a smaller class (symmetries='signed', --symmetries signed, "
            "rounds nothing), or weights of a wider dtype"
        )


def _only_in_training(name: str, parameters: Sequence[str]) -> str:
    """What to do about parameters that a permutation of a model leaves behind."""
    named = some_of([f"'{parameter}'" for parameter in parameters], _NAMED)
    return (
        f"'{name}' permuted: {named} take part in training only, where they meet units that have "
        "moved, and stay as they are: what is computed in eval mode is the same, but training on "
        "would start with them in another order. Initialise them again before training on, or "
        "leave them out"
    )
