"""A merge's tensors: the average of aligned members, and what is computed anew for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zooalign.errors import MergeError, SpecError
from zooalign.graph.capture import capture
from zooalign.merging.interpolate import LazyAverage
from zooalign.merging.layers import find_layers
from zooalign.merging.repair import repair
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.pipelines.matching import runnable
from zooalign.release.calibration import FullBatches
from zooalign.release.opening import Family
from zooalign.symmetry import Permutation, Permuted

__all__ = ["Corrected", "average_of", "corrected", "require_equal_dtypes"]

State = Mapping[str, Tensor]


class Corrected(Mapping[str, Tensor]):
    """``state`` with some tensors replaced; the others are read when asked for."""

    def __init__(self, state: State, replaced: State) -> None:
        self._state, self.replaced = state, dict(replaced)

    def __getitem__(self, name: str) -> Tensor:
        return self.replaced[name] if name in self.replaced else self._state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


@dataclass(frozen=True)
class Averaged:
    """A merge in progress: its parents in one order and their lazy average."""

    parents: tuple[State, ...]
    state: LazyAverage


def average_of(
    family: Family, permutations: Sequence[Permutation], weights: Sequence[float] | None
) -> Averaged:
    """The average of the first member and the others under their permutations, lazily."""
    spec = family.spec
    others = zip(permutations, family.members[1:], strict=True)
    parents = (
        family.members[0].state,
        *(Permuted(spec, permutation, member.state) for permutation, member in others),
    )
    return Averaged(parents, LazyAverage(parents, weights))


def require_equal_dtypes(family: Family) -> None:
    """Raise MergeError where members keep a tensor in different dtypes."""
    first = family.members[0]
    for other in family.members[1:]:
        for name in first.state:
            if first.state.dtype(name) != other.state.dtype(name):
                raise MergeError(
                    f"'{name}' is {first.state.dtype(name)} in '{first.reference}' and "
                    f"{other.state.dtype(name)} in '{other.reference}': convert one of them first"
                )


def corrected(
    family: Family,
    averaged: Averaged,
    batches: FullBatches | None,
    *,
    reset: bool,
    use_repair: bool,
    device: str,
) -> tuple[Corrected, str]:
    """The average with running statistics reset, or repaired, and which of them was done.

    The word is one of :data:`zooalign.release.provenance.STATISTICS`.
    """
    state: State = averaged.state
    captured = None
    if use_repair and batches is not None:
        # Values do not matter to a trace, so 16-bit models see the float32 inputs that they run on.
        captured = capture(family.module, next(iter(batches))[0])
    running = has_running_statistics(family.module)
    # Where every layer is followed by a normalisation, REPAIR is a reset and no more.
    if running and (captured is None or not reset or not find_layers(captured)[0]):
        if batches is None or not reset:
            return Corrected(state, {}), "stale"
        before = runnable(state, device)
        after = reset_statistics(family.module, before, batches)
        return _changed(state, before, after), "reset"
    if captured is None or batches is None:
        return Corrected(state, {}), "none"
    before = runnable(state, device)
    parents = [runnable(parent, device) for parent in averaged.parents]
    done = repair(captured, before, parents, averaged.state.weights, batches)
    if not done.repaired:
        raise SpecError("REPAIR found no layer that it can repair; merge without --repair")
    return _changed(state, before, done.state), "repaired"


def _changed(state: State, before: State, after: State) -> Corrected:
    replaced = {}
    for name, tensor in after.items():
        if tensor is not before[name]:
            dtype: torch.dtype = state[name].dtype
            replaced[name] = tensor.detach().cpu().to(dtype)
    return Corrected(state, replaced)
