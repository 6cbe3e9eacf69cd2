"""Merge models in memory, and measure the barrier between two."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from zooalign.api.arguments import (
    Inputs,
    ModelLike,
    Network,
    floats_of,
    network_of,
    state_of,
)
from zooalign.api.checked import checked_arguments, listed_models
from zooalign.api.names import require_one_configuration, tensors_by_name
from zooalign.api.symmetries import spec_for
from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.batches import require_repeatable
from zooalign.graph.capture import captured_once
from zooalign.graph.dtypes import dtype_named, warn_of_dtypes
from zooalign.keywords import settings_and_options, settings_of
from zooalign.kinds import Symmetries
from zooalign.matching import Match, match_many
from zooalign.matching import match as match_states
from zooalign.matching.many import require_way
from zooalign.matching.measures import Measure, MetricLike
from zooalign.matching.solvers import DEFAULT
from zooalign.merging.barrier import curve_between, warn_of_poor_ends
from zooalign.merging.benefit import Benefit, benefit
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.evaluate import Scoring
from zooalign.merging.interpolate import warn_of_rescaling
from zooalign.merging.merge import Correction, StatisticsOutcome, merge_states, prove
from zooalign.merging.refit import Method, RefitResult, RefitSettings
from zooalign.merging.statistics import has_running_statistics
from zooalign.progress import drawn_in_notebooks
from zooalign.symmetry import Permutation, PermutationSpec, Permuted
from zooalign.text import html_table

__all__ = ["Merged", "barrier", "merge"]

STALE = (
    "the merged running statistics are STALE: they are the average of the models', which does not "
    "fit the merged weights. Pass calibration batches as data=, or use "
    "zooalign.merging.reset_statistics on the result"
)


@dataclass(frozen=True, eq=False)
class Merged:
    """The average of models whose units were reordered to match the first one's.

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
    refit:
        Which layers were refitted to what the models compute, and how; None without a refit.
    benefit:
        The merge beside the models and their ensemble on ``evaluate``, with a ``verdict`` in
        words; None without that data.
    """

    state_dict: dict[str, Tensor]
    weights: tuple[float, ...]
    permutations: tuple[Permutation, ...]
    spec: PermutationSpec
    matches: tuple[Match | None, ...]
    statistics: StatisticsOutcome
    refit: RefitResult | None = None
    benefit: Benefit | None = None

    @property
    def stale_statistics(self) -> bool:
        """Whether normalisation statistics must be recomputed before the merge is of use."""
        return self.statistics == "stale"

    def __repr__(self) -> str:
        weights = ", ".join(f"{weight:.3g}" for weight in self.weights)
        return (
            f"<Merged of {len(self.weights)} models (weights {weights}), "
            f"{len(self.state_dict)} tensors, statistics {self.statistics}>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: a row for each model."""
        rows = [
            (
                number,
                f"{weight:.3g}",
                f"{permutation.moved_fraction:.1%}",
                match.method if match else "",
            )
            for number, (weight, permutation, match) in enumerate(
                zip(self.weights, self.permutations, self.matches, strict=True)
            )
        ]
        header = ("model", "weight", "units that move", "method")
        return html_table(f"Merged, statistics {self.statistics}", header, rows)


@dataclass(frozen=True)
class _MergeSettings:
    weights: Sequence[float] | None = None
    method: str = DEFAULT
    symmetries: Symmetries = "permutations"
    through: str = "reference"
    reset: bool = True
    repair: bool = False
    refit: str | RefitSettings = "auto"
    evaluate: Iterable[object] | None = None
    dtype: torch.dtype | str | None = None
    allow_value_dependent: bool = False

    def correction(self, seed: int) -> Correction:
        """What to do about what averaging breaks."""
        settings = self.refit
        if isinstance(settings, str):
            # An unknown name is refused there.
            settings = RefitSettings(method=cast(Method, settings), seed=seed)
        return Correction(self.reset, self.repair, refit=settings)


@drawn_in_notebooks
@checked_arguments
@captured_once()
def merge(
    *models: ModelLike | Sequence[ModelLike],
    data: Iterable[object] | None = None,
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: ModelLike | None = None,
    **settings: Any,
) -> Merged:
    """Average two or more models, the units of each reordered to match those of the first.

    Parameters
    ----------
    models:
        Modules, opened models, or state dicts (then ``module`` gives the architecture), as for
        :func:`zooalign.align`: ``merge(a, b, c)`` or ``merge([a, b, c])``. None is changed.
        Rows that stand for labels or tokens are taken by their names, where these are known.
    data:
        Batches to match activations on, to refit the weights on, and to reset normalisation
        statistics on. It is read several times: a list or a ``DataLoader``, not an iterator.
        Batches of a hundred examples and more are best.
    example_inputs, spec, module:
        As for :func:`zooalign.align`.
    settings:
        ``weights``: one number a model, divided by their sum; equal if None.
        ``method``: as for :func:`zooalign.match`, with its options, ``seed`` and ``progress``; or
        ``none`` to average as is. ``symmetries`` (``permutations``): as for :func:`zooalign.match`,
        with ``through="reference"``.
        ``through``: ``reference`` (the default) matches each model to the first alone;
        ``universe``, ``mean`` or ``auto`` match all at once, by ``activation`` or ``weight``
        (:func:`zooalign.matching.match_many`, whose options these are).
        ``reset`` (True): recompute running statistics on ``data`` where the architecture has them.
        ``refit`` (``auto``): fit the averaged weights to what the models compute on ``data``:
        ``none``, ``least-squares``, ``features``, or a
        :class:`zooalign.merging.refit.RefitSettings`. Without ``data`` nothing is refitted.
        ``repair`` (False): REPAIR the layers that no batch normalisation follows (Jordan et al.
        2211.08403) in place of a refit, running statistics reset in the same pass; needs ``data``,
        batches of one size.
        ``evaluate`` (None): pairs (inputs, targets) that the merge is compared with the models on
        (:func:`zooalign.merging.benefit`).
        ``dtype`` (None): what floating-point tensors of the merge are in, ``torch.bfloat16`` or
        its name; by default what holds the values of all models.
        ``allow_value_dependent`` (False): as for :func:`zooalign.extract_spec`.

    Raises
    ------
    MergeError
        If there are fewer than two models, they do not fit each other, or ``dtype`` does not hold
        a value of the merge.
    TraceError, DataError, SpecError
        As for :func:`zooalign.align`; SpecError also if REPAIR finds no layer to repair.

    Warns
    -----
    ZooalignWarning
        If running statistics are left stale.
    """
    chosen, options = settings_and_options(_MergeSettings, settings)
    given = [m for members in listed_models(models, "model") for m in members]
    if len(given) < 2:
        raise MergeError(f"a merge takes two models or more, as merge(a, b): got {len(given)}")
    correction = chosen.correction(options.get("seed", 0))
    if data is None and (chosen.repair or correction.refit.method in ("least-squares", "features")):
        what = "REPAIR measures activations" if chosen.repair else "a refit runs the models"
        raise DataError(f"{what} and needs data=")
    if data is not None:
        require_repeatable(data, "data")
    warn_of_rescaling(chosen.weights)
    require_one_configuration(given, module)
    network = network_of(module, *given, data=data, example_inputs=example_inputs)
    inputs, batches = network.inputs(example_inputs, data), network.batches_of(data)
    allow, symmetries = chosen.allow_value_dependent, chosen.symmetries
    spec = spec_for(spec, network.module, inputs, allow, symmetries)
    opened = [state_of(model, network) for model in given]
    states = tensors_by_name(given, opened, network, inputs)
    warn_of_dtypes(states, asked_for=chosen.dtype)
    matches = _matches(spec, states, chosen, {"data": batches, "module": network.module, **options})
    for match, state in zip(matches, states, strict=True):
        if match is not None:
            element = match.element
            prove(network.module, spec, match.permutation, state, inputs, element=element)
    permutations = [match.permutation if match else spec.identity() for match in matches]
    merged = merge_states(
        network.module,
        spec,
        _placed(spec, matches, states),
        weights=chosen.weights,
        data=batches,
        correction=correction,
        dtype=dtype_named(chosen.dtype),
    )
    if merged.statistics == "stale":
        warnings.warn(STALE, ZooalignWarning, stacklevel=2)
    average = dict(merged.state)
    worth = None
    if chosen.evaluate is not None:
        worth = _worth(network, floats_of([average, *states]), merged.weights, chosen.evaluate)
    return Merged(
        average | opened[0].beside,
        merged.weights,
        tuple(permutations),
        spec,
        tuple(matches),
        merged.statistics,
        merged.refit,
        worth,
    )


def _placed(
    spec: PermutationSpec, matches: Sequence[Match | None], states: Sequence[Mapping[str, Tensor]]
) -> list[Mapping[str, Tensor]]:
    """The states with their units in the first one's order."""
    return [
        match.applied(spec, state) if match else Permuted(spec, spec.identity(), state)
        for match, state in zip(matches, states, strict=True)
    ]


def _worth(
    network: Network,
    states: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
    data: Iterable[object],
) -> Benefit:
    """The first state beside the others, by what the architecture's targets call for."""
    loss, metric = network.measures("task", "task")
    scored = network.batches(data)
    return benefit(
        *(network.module, states[0], states[1:], scored),
        weights=weights,
        loss=loss,
        metric=metric,
    )


def _matches(
    spec: PermutationSpec,
    states: Sequence[Mapping[str, Tensor]],
    settings: _MergeSettings,
    options: Mapping[str, Any],
) -> list[Match | None]:
    """How each model is matched to the first; None for those that stay as they are."""
    method = settings.method
    if settings.through == "reference" and method == "none":
        return [None] * len(states)
    floats = floats_of(states)
    if settings.through == "reference":
        first, *others = floats
        options = {**options, "method": method, "symmetries": settings.symmetries}
        return [None, *(match_states(spec, first, f, **options) for f in others)]
    require_way(method, settings.through)
    if settings.symmetries != "permutations":
        raise MergeError(
            f"models matched all at once (through='{settings.through}') are permuted only: give "
            "through='reference' for symmetries beyond permutations"
        )
    many = match_many(spec, floats, method=method, through=settings.through, **options)
    score = many.objective_before, many.objective_after, many.details
    return [None, *(Match(p, method, *score) for p in many.permutations[1:])]


@dataclass(frozen=True)
class _BarrierSettings:
    alphas: int | Sequence[float] = 25
    reset: bool = True
    loss: Measure | str = "task"
    metric: MetricLike | str | None = "task"


@drawn_in_notebooks
@checked_arguments
def barrier(
    a: ModelLike,
    b: ModelLike,
    *,
    data: Iterable[object],
    test: Iterable[object] | None = None,
    calibration: Iterable[object] | None = None,
    module: ModelLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> BarrierCurve:
    """Loss and error on the straight line from ``a`` to ``b``, as they are.

    To measure the line to an aligned model, pass ``align(b, to=a, ...).state_dict`` as ``b``.

    Parameters
    ----------
    a, b:
        Models as for :func:`zooalign.align`. Neither is changed.
    data, test:
        Pairs (inputs, targets) to score on. They are read at every alpha.
    calibration:
        Batches to reset running statistics on; default: ``data``.
    module:
        The architecture, where only state dicts are given.
    progress:
        Called with (alphas done, alphas in all).
    settings:
        ``alphas`` (25): how many, evenly spaced with both endpoints, or which. ``reset`` (True):
        recompute running statistics strictly between the endpoints, where there are any.
        ``loss`` and ``metric``: a name (``cross-entropy``, ``mse``, ``mae``; ``accuracy``,
        ``dice``, ``miou``, ``perplexity``, ...), or a function as for
        :func:`zooalign.merging.evaluate`; ``metric=None`` for the loss alone. By default what the
        targets call for.

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
    chosen = settings_of(_BarrierSettings, settings, "barrier")
    require_one_configuration((a, b), module)
    network = network_of(module, a, b, data=data)
    reset = None
    if chosen.reset and has_running_statistics(network.module):
        reset = data if calibration is None else calibration
    tested, resetting = (network.batches_of(given) for given in (test, reset))
    scoring = Scoring(
        *(network.module, network.batches(data), tested, resetting),
        *network.measures(chosen.loss, chosen.metric),
    )
    opened = [state_of(model, network) for model in (a, b)]
    inputs = network.inputs(None, data)
    first, second = floats_of(tensors_by_name((a, b), opened, network, inputs))
    curve = curve_between(scoring, first, second, alphas=chosen.alphas, progress=progress)
    warn_of_poor_ends(scoring, first, second, curve)
    return curve
