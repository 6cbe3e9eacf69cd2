"""How models in memory connect, two by two and all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from zooalign.api.arguments import Inputs, ModelLike, floats_of, network_of, state_of
from zooalign.api.checked import checked_arguments, listed_models
from zooalign.api.names import require_one_configuration, tensors_by_name
from zooalign.api.symmetries import spec_for
from zooalign.errors import MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.graph.capture import captured_once
from zooalign.keywords import settings_and_options
from zooalign.matching.measures import Measure, MetricLike
from zooalign.merging.connectivity import Connected, Matching, connect
from zooalign.merging.evaluate import Scoring
from zooalign.progress import Progress, drawn_in_notebooks, silent
from zooalign.symmetry import PermutationSpec

__all__ = ["connectivity"]


@dataclass(frozen=True)
class _ConnectivitySettings:
    method: str = "activation"
    through: str = "universe"
    references: int = 1
    seed: int = 0
    reset: bool = True
    alphas: int = 25
    steps: int = 6
    allow_value_dependent: bool = False
    loss: Measure | str = "task"
    metric: MetricLike | str | None = "task"


@drawn_in_notebooks
@checked_arguments
@captured_once()
def connectivity(
    models: Sequence[ModelLike | Sequence[ModelLike]],
    *,
    data: Iterable[object],
    calibration: Iterable[object] | None = None,
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: ModelLike | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Connected:
    """Barriers between models as they are, aligned two by two, composed, and all at once.

    Parameters
    ----------
    models:
        Two or more models as for :func:`zooalign.align`, or sequences of checkpoints of one
        training each, of one length. None is changed.
    data:
        Pairs (inputs, targets) to score on, read many times.
    calibration:
        Batches to match on and to reset running statistics on; default: ``data``.
    example_inputs, spec, module:
        As for :func:`zooalign.align`.
    progress:
        Called with (stage, steps done, steps in all).
    settings:
        ``method``: ``activation`` (the default), ``weight``, or a plugin's, with its options and a
        ``seed``. ``through`` and ``references``: how all are reordered to match each other, and
        how many are tried as the reference (:func:`zooalign.matching.match_many`). ``alphas``
        (25) and ``steps`` (6): points of a curve, and along an edge of the simplex less one.
        ``allow_value_dependent`` (False) as for :func:`zooalign.extract_spec`.
        ``reset`` (True), ``loss`` and ``metric`` as for :func:`zooalign.barrier`.

    Returns
    -------
    Connected
        ``connectivity`` with ``pairs``, ``summary()``, ``simplex``, ``cycles``, ``merged``; and
        ``trajectories``, one per pair, where sequences were given.

    Raises
    ------
    DataError, MergeError, TraceError
        As for :func:`zooalign.align` and :func:`zooalign.barrier`.
    """
    chosen, options = settings_and_options(_ConnectivitySettings, settings)
    trainings = listed_models(models, "model")
    if len(trainings) < 2 or not all(trainings):
        raise MergeError(f"connectivity takes two models or more: got {len(trainings)}")
    if len({len(checkpoints) for checkpoints in trainings}) > 1:
        raise MergeError(
            "trainings of different lengths cannot be compared: give the same number of each"
        )
    require_repeatable(data, "data")
    every = [model for checkpoints in trainings for model in checkpoints]
    require_one_configuration(every, module)
    network = network_of(module, *every, data=data, example_inputs=example_inputs)
    inputs = network.inputs(example_inputs, data)
    if spec is None:
        spec = spec_for(None, network.module, inputs, chosen.allow_value_dependent)
    calibrating = data if calibration is None else calibration
    require_repeatable(calibrating, "calibration", "for every pair")
    scored, calibrating = network.batches(data), network.batches(calibrating)
    reset = calibrating if chosen.reset else None
    loss, metric = network.measures(chosen.loss, chosen.metric)
    opened = [state_of(model, network) for model in every]
    states = iter(floats_of(tensors_by_name(every, opened, network, inputs)))
    return connect(
        Scoring(network.module, scored, reset=reset, loss=loss, metric=metric),
        spec,
        [list(islice(states, len(checkpoints))) for checkpoints in trainings],
        calibration=calibrating,
        matching=Matching(chosen.method, chosen.through, chosen.references, options, chosen.seed),
        alphas=chosen.alphas,
        steps=chosen.steps,
        progress=progress or silent,
    )
