"""Modules in, modules' state dicts out: the functions for fine-tuning scripts.

No file and no hub is involved; the models given are left as they are.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.batches import read_batches, require_repeatable
from zooalign.matching.result import Match
from zooalign.matching.solvers import match
from zooalign.merging.barrier import barrier as measure_barrier
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.interpolate import average
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.symmetry.extract import extract_spec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Alignment", "Merged", "align", "barrier", "merge"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """One model in the order of another.

    Attributes
    ----------
    state_dict:
        Of the aligned model: ``model.load_state_dict(alignment.state_dict)`` puts it in place.
    permutation:
        What was applied.
    spec:
        Of the architecture.
    match:
        What the matching method reports.
    """

    state_dict: Mapping[str, Tensor]
    permutation: Permutation
    spec: PermutationSpec
    match: Match


@dataclass(frozen=True, eq=False)
class Merged:
    """The weighted average of aligned models.

    ``permutations`` has one entry per model after the first. ``stale_statistics`` says that the
    architecture has running statistics and they were not recomputed: the merge will work badly.
    """

    state_dict: Mapping[str, Tensor]
    permutations: tuple[Permutation, ...]
    matches: tuple[Match, ...]
    spec: PermutationSpec
    stale_statistics: bool


def align(
    model: nn.Module,
    *,
    to: nn.Module,
    data: Iterable[Any] | None = None,
    method: str = "activation",
    spec: PermutationSpec | None = None,
    example_inputs: Sequence[Any] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Alignment:
    """Bring the units of ``model`` in the order of those of ``to``.

    Parameters
    ----------
    model, to:
        Two modules of one architecture. Neither is changed.
    data:
        Batches of inputs, or of (inputs, targets), re-iterable; activation matching needs them.
    method:
        ``activation`` or ``weight``.
    spec, example_inputs:
        The architecture's spec if it is at hand; else it is extracted with ``example_inputs``, or
        with the first batch of ``data``.
    options:
        Passed to the method, see :func:`zooalign.match`.

    Raises
    ------
    ZooalignError
        If the spec cannot be extracted, the data is missing, or the two do not fit each other.

    Examples
    --------
    >>> import torch
    >>> make = lambda: torch.nn.Sequential(
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> a, b = make(), make()
    >>> aligned = align(b, to=a, data=[torch.randn(64, 4)])
    >>> _ = b.load_state_dict(aligned.state_dict)
    """
    if method == "activation" and data is None:
        raise DataError("activation matching needs data: give batches, or use method='weight'")
    spec = spec or _spec(to, example_inputs, data)
    found = match(
        spec, to, model, method=method, data=data, module=to, seed=seed, progress=progress, **options
    )
    return Alignment(
        spec.apply(found.permutation, model.state_dict()), found.permutation, spec, found
    )


def _spec(
    module: nn.Module, example_inputs: Sequence[Any] | None, data: Iterable[Any] | None
) -> PermutationSpec:
    if example_inputs is None:
        if data is None:
            raise DataError(
                "inputs are needed to trace the model: give example_inputs, data, or its spec"
            )
        require_repeatable(data, "the data", "to trace the model and to match")
        batch = next(read_batches(data))
        if batch.kwargs:
            raise DataError("give example_inputs: a batch of keyword inputs cannot be traced")
        example_inputs = batch.args
    return extract_spec(module, example_inputs)


def barrier(
    a: nn.Module,
    b: nn.Module | Mapping[str, Tensor],
    *,
    data: Iterable[Any],
    test: Iterable[Any] | None = None,
    alphas: int | Sequence[float] = 25,
    reset: bool | Iterable[Any] = True,
    **options: Any,
) -> BarrierCurve:
    """Loss and error on the line from ``a`` to ``b``, which is taken as it is: align it first.

    Parameters
    ----------
    a:
        A module: the architecture, and one end.
    b:
        A module, or a state dict (such as ``Alignment.state_dict``): the other end.
    data, test:
        Batches of (inputs, targets), re-iterable.
    reset:
        Recompute running statistics between the ends, on ``data`` or on the batches given;
        without effect on an architecture that has none.
    options:
        Further arguments of :func:`zooalign.merging.barrier.barrier`.
    """
    other = b.state_dict() if isinstance(b, nn.Module) else b
    calibration: Iterable[Any] | None = None
    if reset is not False and has_running_statistics(a):
        calibration = data if reset is True else reset
    return measure_barrier(
        a, a.state_dict(), other, data, test=test, alphas=alphas, reset=calibration, **options
    )


def merge(
    models: Sequence[nn.Module],
    *,
    weights: Sequence[float] | None = None,
    data: Iterable[Any] | None = None,
    method: str = "activation",
    spec: PermutationSpec | None = None,
    example_inputs: Sequence[Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Merged:
    """Average models, each brought in the order of the first; running statistics are recomputed.

    Parameters
    ----------
    models:
        Two or more modules of one architecture.
    weights:
        One number per model; divided by their sum. Equal if not given.
    data:
        Batches, re-iterable: for activation matching and to recompute running statistics.

    Other parameters are those of :func:`align`.

    Warns
    -----
    ZooalignWarning
        If the architecture has running statistics and no data is given to recompute them.
    """
    if len(models) < 2:
        raise MergeError("a merge takes two models or more")
    first = models[0]
    if method == "activation" and data is None:
        raise DataError("activation matching needs data: give batches, or use method='weight'")
    spec = spec or _spec(first, example_inputs, data)
    aligned = [
        align(m, to=first, data=data, method=method, spec=spec, seed=seed, **options)
        for m in models[1:]
    ]
    state: Mapping[str, Tensor] = average(
        [first.state_dict(), *(a.state_dict for a in aligned)], weights
    )
    stale = has_running_statistics(first)
    if stale and data is not None:
        state, stale = reset_statistics(first, state, data), False
    if stale:
        warnings.warn(
            "the merged running statistics are stale, and the model will work badly until they "
            "are recomputed: give data",
            ZooalignWarning,
            stacklevel=2,
        )
    return Merged(
        state, tuple(a.permutation for a in aligned), tuple(a.match for a in aligned), spec, stale
    )
