"""Refit a merge that is wider than its parents, as the second step of PLeaS does.

Each parent is put into the wider architecture, its units in their slots and zeros elsewhere, where
it computes what it did. A slot's target is the mean over the parents that have a unit there.
"""

from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import capture
from zooalign.graph.lazy_state import State
from zooalign.matching.axis_maps import axis_maps, first_slots, spread
from zooalign.matching.unit_views import tensor_views
from zooalign.matching.widths import Padded
from zooalign.merging.partial import PartialMerge
from zooalign.merging.refit.refit import refit
from zooalign.merging.refit.report import RefitResult, RefitSettings
from zooalign.progress import Progress, silent
from zooalign.symmetry.extract import extract_spec
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["refit_partial"]

_DEFAULTS = RefitSettings()


def refit_partial(
    merge: PartialMerge,
    a: State,
    b: State | Padded,
    *,
    module: nn.Module,
    data: Iterable[object],
    settings: RefitSettings = _DEFAULTS,
    progress: Progress = silent,
) -> RefitResult:
    """Refit a partial merge to the mean of what its parents compute.

    Parameters
    ----------
    merge:
        What :func:`~zooalign.merging.partial_merge` gave.
    a, b:
        The state dicts that were merged, as they were given there.
    module:
        The parents' architecture.
    data, settings, progress:
        As for :func:`~zooalign.merging.refit.refit`.

    Returns
    -------
    The new state dict, for ``merge.module``, and what was done.

    Raises
    ------
    MergeError
        If units of one model were merged with each other (ZipIt): such a model has no form of its
        own in the merge. Otherwise as for :func:`~zooalign.merging.refit.refit`.
    DataError, TraceError
        As for :func:`~zooalign.merging.refit.refit`.
    """
    batches = list(data)
    example = next(read_batches(batches)).args
    captured, spec = capture(merge.module, example), extract_spec(module, example)
    states = [a, b.state if isinstance(b, Padded) else b]
    parents = [_placed(merge, spec, state, number) for number, state in enumerate(states)]
    return refit(
        captured, parents, merge.weights, batches, settings, start=merge.state, progress=progress
    )


def _placed(
    merge: PartialMerge, spec: PermutationSpec, state: State, model: int
) -> dict[str, Tensor]:
    """A parent in the merge's architecture: zeros where it has no unit."""
    slots = {group: by_model[model] for group, by_model in merge.slots.items()}
    for group, where in slots.items():
        if len(np.unique(where[where >= 0])) < (where >= 0).sum():
            raise MergeError(
                f"units of one model were merged with each other in '{group}', so that the model "
                "has no form of its own in the merge: only partial merges can be refitted"
            )
    every = {**first_slots(spec, merge.spec), **slots}
    places, wider = tensor_views(spec), tensor_views(merge.spec)
    placed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            placed[name] = tensor
            continue
        shapes = spec.shapes[name], merge.spec.shapes[name]
        maps = axis_maps(places[name], wider[name], *shapes, every, name)
        placed[name] = spread(tensor.double(), maps).to(tensor)
    return placed
