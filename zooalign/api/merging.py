"""Merge models in memory, and measure the barrier between two."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.api.aligning import Progress, match
from zooalign.api.arguments import Inputs, Model, inputs_from, module_of, state_of
from zooalign.api.symmetries import extract_spec
from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.batches import require_repeatable
from zooalign.graph.lazy_state import device_of, float_state
from zooalign.matching import Match, match_many
from zooalign.matching.many import require_way
from zooalign.matching.solvers import DEFAULT
from zooalign.merging import (
    BarrierCurve,
    correct,
    cross_entropy,
    has_running_statistics,
)
from zooalign.merging import barrier as measure_barrier
from zooalign.merging.merge import Correction, Statistics, merge_states, prove
from zooalign.symmetry import Permutation, PermutationSpec

__all__ = ["Merged", "barrier", "merge"]

STALE = (
    "the merged running statistics are STALE: they are the average of the models', which does not "
    "fit the merged weights. Pass calibration batches as data=, or use "
    "zooalign.merging.reset_statistics on the result"
)
Measure = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Merged:
    """The average of models brought in one order.

    Attributes
    ----------
    state_dict:
        New tensors, of the dtypes and on the device of the first model's.
    weights:
        One a model; they sum to one.
    permutations:
        One a model; the first is the identity.
    spec:
        The architecture's permutation spec.
    matches:
        One a model: how its permutation was found; None for the first, and for ``method="none"``.
    statistics:
        What became of normalisation statistics: ``reset`` on the data; ``stale``, the average of
        the models', which does not fit the merged weights; ``repaired`` (REPAIR); or ``none``,
        where the architecture has none.
    """

    state_dict: dict[str, Tensor]
    weights: tuple[float, ...]
    permutations: tuple[Permutation, ...]
    spec: PermutationSpec
    matches: tuple[Match | None, ...]
    statistics: Statistics

    @property
    def stale_statistics(self) -> bool:
        """Whether normalisation statistics must be recomputed before the merge is of use."""
        return self.statistics == "stale"


def merge(
    *models: Model | Sequence[Model],
    weights: Sequence[float] | None = None,
    data: Iterable[Any] | None = None,
    method: str = DEFAULT,
    through: str = "reference",
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: nn.Module | None = None,
    reset: bool = True,
    repair: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Merged:
    """Average two or more models, each brought in the order of the first one's units.

    Parameters
    ----------
    models:
        Modules, or state dicts (then ``module`` gives the architecture): ``merge(a, b, c)`` or
        ``merge([a, b, c])``. None is changed.
    weights:
        One number a model, divided by their sum; equal if None.
    data:
        Batches to match activations on, and to reset normalisation statistics on. It is read
        several times: a list or a ``DataLoader``, not an iterator. Batches of a hundred examples
        and more are best.
    method:
        As for :func:`zooalign.match`, or ``none`` to average as is.
    through:
        ``reference``: each model is matched to the first alone. ``universe``, ``mean`` or
        ``auto``: all at once, by ``activation`` or ``weight``, in the order that the first one
        has; see :func:`zooalign.matching.match_many`, whose options these are.
    example_inputs, spec, seed, progress, options:
        As for :func:`zooalign.align`.
    reset:
        Recompute running statistics on ``data`` where the architecture has them.
    repair:
        REPAIR the layers that no batch normalisation follows (Jordan et al. 2211.08403), running
        statistics reset in the same pass; needs ``data``, batches of one size.

    Raises
    ------
    MergeError
        If there are fewer than two models, or they do not fit each other.
    TraceError, DataError, SpecError
        As for :func:`zooalign.align`.

    Warns
    -----
    ZooalignWarning
        If running statistics are left stale.
    """
    given = _listed(models)
    if len(given) < 2:
        raise MergeError(f"a merge takes two models or more, as merge(a, b): got {len(given)}")
    if repair and data is None:
        raise DataError("REPAIR measures activations and needs data=")
    if data is not None:
        require_repeatable(data, "data")
    architecture = module_of(module, *given)
    inputs = inputs_from(example_inputs, data)
    spec = spec if spec is not None else extract_spec(architecture, inputs)
    states = [state_of(model) for model in given]
    how: dict[str, Any] = {"method": method, "data": data, "seed": seed, "progress": progress}
    matches: list[Match | None] = [None] * len(states)
    if through != "reference":
        require_way(method, through)
        wide = [float_state(state, device_of(states[0])) for state in states]
        many = match_many(
            spec, wide, through=through, module=architecture,
            **how, **options,
        )  # fmt: skip
        ends = many.objective_before, many.objective_after
        matches[1:] = [Match(p, method, *ends, many.details) for p in many.permutations[1:]]
    elif method != "none":
        matches[1:] = [
            match(spec, states[0], state, module=architecture, **how, **options)
            for state in states[1:]
        ]
    permutations = [found.permutation if found else spec.identity() for found in matches]
    for found, state in zip(matches, states, strict=True):
        if found is not None:
            prove(architecture, spec, found.permutation, state, inputs)
    merged = merge_states(
        architecture,
        spec,
        states,
        permutations,
        weights=weights,
        data=data,
        correction=Correction(reset, repair),
    )
    if merged.statistics == "stale":
        warnings.warn(STALE, ZooalignWarning, stacklevel=2)
    return Merged(
        dict(merged.state),
        merged.weights,
        tuple(permutations),
        spec,
        tuple(matches),
        merged.statistics,
    )


def _listed(models: tuple[Model | Sequence[Model], ...]) -> list[Model]:
    """The models, given one by one or as one list (a module may be a sequence too)."""
    listed: list[Model] = []
    for model in models:
        listed += [model] if isinstance(model, (nn.Module, Mapping)) else list(model)
    return listed


def barrier(
    a: Model,
    b: Model,
    *,
    data: Iterable[Any],
    test: Iterable[Any] | None = None,
    calibration: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    alphas: int | Sequence[float] = 25,
    reset: bool = True,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
    progress: Callable[[int, int], None] | None = None,
) -> BarrierCurve:
    """Loss and error on the straight line from ``a`` to ``b``, as they are.

    To measure the line to an aligned model, pass ``align(b, to=a, ...).state_dict`` as ``b``.

    Parameters
    ----------
    a, b:
        Modules, or state dicts (then ``module`` gives the architecture). Neither is changed.
    data, test:
        Pairs (inputs, targets) to score on. They are read at every alpha.
    calibration:
        Batches to reset running statistics on; default: ``data``.
    alphas:
        How many, evenly spaced with both endpoints, or which.
    reset:
        Recompute running statistics strictly between the endpoints, where there are any.
    loss, metric:
        See :func:`zooalign.merging.evaluate`.
    progress:
        Called with (alphas done, alphas in all).

    Returns
    -------
    BarrierCurve
        ``barrier["loss"].over_line`` and ``.over_mean`` are the two definitions in use.

    Raises
    ------
    DataError
        If a data set is empty, has no targets, or can be read once only.
    MergeError
        If the models do not fit each other, or a score is not finite.
    """
    architecture = module_of(module, a, b)
    first = state_of(a)
    needed = reset and has_running_statistics(architecture)
    return measure_barrier(
        architecture,
        float_state(first, device_of(first)),
        float_state(state_of(b), device_of(first)),
        data,
        test=test,
        alphas=alphas,
        reset=(data if calibration is None else calibration) if needed else None,
        loss=loss,
        metric=metric,
        progress=progress,
    )
