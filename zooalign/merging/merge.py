"""Merge state dicts of one architecture whose permutations are known, and prove permutations.

The core under :func:`zooalign.merge` and ``zooalign merge``: both differ only in where state dicts
come from and go to.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from zooalign.errors import SpecError, ZooalignWarning
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import capture
from zooalign.graph.lazy_state import State, device_of, float_state
from zooalign.merging.combine import Combination, combined
from zooalign.merging.layers import find_layers
from zooalign.merging.repair import repair as repair_units
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.symmetry import Permutation, PermutationSpec, Permuted
from zooalign.symmetry.same_function import Comparison, compare_permuted

__all__ = ["Correction", "MergedState", "StatisticsOutcome", "merge_states", "prove"]

StatisticsOutcome = Literal["reset", "stale", "repaired", "none"]


@dataclass(frozen=True)
class Correction:
    """What to do about what averaging breaks.

    ``reset`` recomputes running statistics, where the architecture has them. ``repair`` is REPAIR
    (Jordan et al. 2211.08403) of the layers that no batch normalisation follows, running statistics
    reset in the same pass. The default ``device`` is the first state dict's.
    """

    reset: bool = True
    repair: bool = False
    device: torch.device | str | None = None


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
    """

    state: State
    weights: tuple[float, ...]
    statistics: StatisticsOutcome
    recomputed: tuple[str, ...] = ()


def merge_states(
    module: nn.Module,
    spec: PermutationSpec,
    states: Sequence[State],
    permutations: Sequence[Permutation],
    *,
    weights: Sequence[float] | Combination | None = None,
    data: Iterable[object] | None = None,
    correction: Correction = Correction(),
) -> MergedState:
    """Average state dicts, each under its permutation, and correct what averaging breaks.

    ``weights`` may also be another way to combine them. Calibration ``data`` is read several times;
    without it nothing is corrected.

    Raises
    ------
    SpecError
        If REPAIR finds no layer to repair.
    DataError, MergeError
        As for :func:`~zooalign.merging.interpolate.average` and what corrects.
    """
    parents = [Permuted(spec, p, state) for p, state in zip(permutations, states, strict=True)]
    average = combined(parents, weights)
    running = has_running_statistics(module)
    wanted = correction.reset if running else correction.repair
    if data is None or not wanted:
        return MergedState(average, average.weights, "stale" if running else "none")
    captured = None
    if correction.repair:
        # Values do not matter to a trace, so 16-bit models see the float32 inputs they run on.
        inputs = next(read_batches(data)).args
        captured = capture(module, inputs, allow_value_dependent=spec.value_dependent)
    averaged = dict(average)
    device = device_of(averaged) if correction.device is None else correction.device
    before = float_state(averaged, device)
    statistics: StatisticsOutcome = "reset"
    # Where every layer is followed by a normalisation, REPAIR is a reset and no more.
    if captured is None or (running and not find_layers(captured)[0]):
        after = reset_statistics(module, before, data)
    else:
        statistics = "repaired"
        floats = [float_state(parent, device) for parent in parents]
        result = repair_units(captured, before, floats, average.weights, data)
        if not result.repaired:
            raise SpecError("REPAIR found no layer that it can repair: merge without it")
        after = dict(result.state)
    recomputed = tuple(name for name, tensor in after.items() if tensor is not before[name])
    changed = {name: after[name].detach().to(averaged[name]) for name in recomputed}
    return MergedState({**averaged, **changed}, average.weights, statistics, recomputed)


def prove(
    module: nn.Module,
    spec: PermutationSpec,
    permutation: Permutation,
    state: State,
    inputs: tuple[object, ...],
    *,
    name: str = "the model",
) -> Comparison:
    """Run the module on a state dict and on its permuted form, and compare the outputs.

    Where they differ, the spec is to be proved operator by operator. ``name`` is the model's, for
    messages.

    Warns
    -----
    ZooalignWarning
        If outputs differ and the permutation is proved.

    Raises
    ------
    SpecError
        If they compute different functions: a mistake in zooalign, or in a plugin's operator rule.
    """
    permuted = Permuted(spec, permutation, state)
    comparison = compare_permuted(module, spec, state, permuted, inputs)
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
    return comparison
