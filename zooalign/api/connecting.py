"""How models in memory connect, two by two and all at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zooalign.api.arguments import Inputs, Model, inputs_from, module_of, state_of
from zooalign.api.symmetries import extract_spec
from zooalign.errors import MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.graph.lazy_state import device_of, float_state
from zooalign.merging import correct, cross_entropy
from zooalign.merging.connecting import Connected, Matching, connect
from zooalign.symmetry import PermutationSpec

__all__ = ["connectivity"]

Measure = Callable[[Any, Any], Tensor]


def connectivity(
    models: Sequence[Model | Sequence[Model]],
    *,
    data: Iterable[Any],
    calibration: Iterable[Any] | None = None,
    method: str = "activation",
    through: str = "universe",
    references: int = 1,
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: nn.Module | None = None,
    reset: bool = True,
    alphas: int = 25,
    steps: int = 6,
    loss: Measure = cross_entropy,
    metric: Measure | None = correct,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Connected:
    """Barriers between models as they are, aligned two by two, composed, and all at once.

    Parameters
    ----------
    models:
        Two or more modules or state dicts (then ``module`` gives the architecture), or sequences
        of checkpoints of one training each, of one length. None is changed.
    data:
        Pairs (inputs, targets) to score on, read many times.
    calibration:
        Batches to match on and to reset running statistics on; default: ``data``.
    method:
        ``activation``, ``weight``, or a plugin's.
    through, references:
        How all are brought in one order, and how many are tried as the reference; see
        :func:`zooalign.matching.match_many`.
    alphas, steps:
        Points of a curve, and along an edge of the simplex less one.
    options:
        Passed to the pairwise method.

    Returns
    -------
    Connected
        ``connectivity`` with ``pairs``, ``summary()``, ``simplex``, ``cycles``, ``merged``; and
        ``trajectories``, one a pair, where sequences were given.

    Raises
    ------
    DataError, MergeError, TraceError
        As for :func:`zooalign.align` and :func:`zooalign.barrier`.
    """
    networks = [[m] if isinstance(m, (nn.Module, Mapping)) else list(m) for m in models]
    if len(networks) < 2 or not all(networks):
        raise MergeError(f"connectivity is of two models or more: got {len(networks)}")
    if len({len(own) for own in networks}) > 1:
        raise MergeError("trainings of different lengths cannot be compared: give as many of each")
    require_repeatable(data, "data")
    architecture = module_of(module, *(m for own in networks for m in own))
    device = device_of(state_of(networks[0][0]))
    spec = spec or extract_spec(architecture, inputs_from(example_inputs, data))
    calibrating = data if calibration is None else calibration
    require_repeatable(calibrating, "calibration", "for every pair")
    given = {} if progress is None else {"progress": progress}
    return connect(
        architecture,
        spec,
        [[float_state(state_of(m), device) for m in own] for own in networks],
        data,
        calibration=calibrating,
        reset=calibrating if reset else None,
        matching=Matching(method, through, references, options),
        alphas=alphas,
        steps=steps,
        seed=seed,
        loss=loss,
        metric=metric,
        **given,
    )
