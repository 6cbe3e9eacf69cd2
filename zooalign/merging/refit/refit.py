"""The refit of a merge: candidates, the choice among them, and the result."""

from collections.abc import Callable, Iterable, Sequence

from torch import nn

from zooalign.graph.capture import Capture
from zooalign.graph.lazy_state import State
from zooalign.merging.refit.report import RefitResult, RefitSettings
from zooalign.progress import Progress, silent

__all__ = ["refit"]

_DEFAULTS = RefitSettings()


def refit(
    captured: Capture,
    module: nn.Module,
    parents: Sequence[State],
    weights: Sequence[float] | None,
    data: Iterable[object],
    settings: RefitSettings = _DEFAULTS,
    *,
    start: State | None = None,
    only: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> RefitResult:
    """Refit the weights of a merge to the mean of what its aligned parents compute.

    Parameters
    ----------
    captured:
        The architecture's graph, captured on inputs of the shapes of the data's batches.
    module:
        The architecture; left as it is.
    parents:
        State dicts, aligned to each other, lazy or in memory. Their device decides.
    weights:
        One a parent; equal if None.
    data:
        Calibration batches, see :mod:`zooalign.graph.batches`; targets are used by ``labels``
        alone. Batches of other shapes than captured (a last, smaller one) are left out.
    start:
        The merge to improve: what is not refitted stays as it is there. Default: the weighted
        average of the parents.
    only:
        Whether the weight of this state-dict name may be refitted. Default: all.
    progress:
        Told of layers and steps done.

    Returns
    -------
    The new state dict, and what was done. Sums are float64; weights are rounded once to their
    dtype.

    Raises
    ------
    DataError
        If no batch has the captured shapes.
    MergeError
        If weights are unusable, or an activation is not finite.
    SpecError
        If a state dict lacks what the graph reads.
    """
    raise NotImplementedError
