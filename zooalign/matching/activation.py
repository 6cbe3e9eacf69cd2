"""Activation matching: units that respond alike to data are one.

Both models run in lock-step through the graph they share; wherever a group's units appear the
cross-statistics are added up, and the tensor is dropped. One assignment per family of nested
groups then maximises the summed correlation (Li et al. 2015, arXiv 1511.07543; Tatro et al. 2020,
arXiv 2009.02439), or covariance.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.execute import lockstep
from zooalign.matching.assignment import AssignmentSolver, assign, linear, whole
from zooalign.matching.places import Place, activation_places
from zooalign.matching.result import Match
from zooalign.matching.statistics import Moments, Statistics
from zooalign.graph.batches import read_batches
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["activation_matching", "collect", "match_statistics"]

Progress = Callable[[int], None]


def activation_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    kind: str = "correlation",
    solver: AssignmentSolver = linear,
    progress: Progress | None = None,
) -> Match:
    """The permutation of ``source`` whose units respond most like those of ``target``.

    Parameters
    ----------
    spec:
        Of the architecture.
    target, source:
        State dicts, on one device: the computation runs where they are.
    module:
        The architecture (its own weights are not used and may be on the meta device).
    data:
        Batches of inputs, or of (inputs, targets); targets are not used. Read once.
    kind:
        ``correlation`` or ``covariance``.

    Raises
    ------
    DataError
        If the data holds no batch, or one the module cannot be traced with.
    MergeError
        If the graph of the module has other symmetries than the spec.
    """
    statistics = collect(spec, target, source, module=module, data=data, progress=progress)
    return match_statistics(spec, statistics, kind=kind, solver=solver)


def match_statistics(
    spec: PermutationSpec,
    statistics: Statistics,
    *,
    kind: str = "correlation",
    solver: AssignmentSolver = linear,
) -> Match:
    """The permutation that given statistics ask for (they may be sums from several processes)."""
    similarity = {g: m.cpu().numpy() for g, m in statistics.similarity(kind).items()}
    parts = assign(spec, similarity, solver=solver)
    permutation = whole(spec, parts)
    paired = total = before = 0.0
    for group, matrix in similarity.items():
        order = _unit_order(spec, group, permutation.indices)
        places = statistics.places(group)
        before += float(matrix.trace()) / places
        paired += float(matrix[range(len(order)), order].sum()) / places
        total += len(order)
    return Match(
        permutation,
        "activation",
        before / total if total else 0.0,
        paired / total if total else 0.0,
        {"samples": statistics.samples, "places": len(statistics.moments)},
    )


def _unit_order(spec: PermutationSpec, name: str, indices: Mapping[str, Any]) -> Any:
    """For every unit of a group in every context (row-major), the source unit it is paired with."""
    import numpy as np

    from zooalign.symmetry.permutation import Permutation, old_contexts

    group = spec.by_id[name]
    permutation = Permutation(spec.hash, indices)
    units = np.arange(group.copies * group.size).reshape(*group.contexts, group.size)
    source = units[old_contexts(spec, group, permutation)] if group.over else units
    return np.take_along_axis(source, np.asarray(indices[name]), axis=-1).reshape(-1)


def collect(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    progress: Progress | None = None,
) -> Statistics:
    """Cross-statistics of all groups of a spec over all batches, in one pass."""
    graphs: dict[Any, tuple[Derived, dict[str, list[Place]]]] = {}
    found = Statistics({})
    device = next(iter(target.values())).device
    for number, batch in enumerate(read_batches(data)):
        if batch.kwargs:
            raise DataError("activation matching takes positional inputs only")
        inputs = tuple(x.to(device) if isinstance(x, Tensor) else x for x in batch.args)
        key = tuple((tuple(x.shape), x.dtype) for x in inputs if isinstance(x, Tensor))
        if key not in graphs:
            graphs[key] = _graph(spec, module, inputs)
        found = found + _batch(*graphs[key], target, source, inputs)
        if progress is not None:
            progress(number + 1)
    return found


def _graph(
    spec: PermutationSpec, module: nn.Module, inputs: tuple[Any, ...]
) -> tuple[Derived, dict[str, list[Place]]]:
    derived = derive_spec(module, inputs)
    if derived.spec.hash != spec.hash:
        raise MergeError(
            f"with inputs of shapes {[tuple(x.shape) for x in inputs if isinstance(x, Tensor)]} "
            f"the module has the symmetries of spec {derived.spec.hash[:12]}, not of "
            f"{spec.hash[:12]}: extract the spec with inputs like the data"
        )
    return derived, activation_places(derived)


def _batch(
    derived: Derived,
    places: dict[str, list[Place]],
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Statistics:
    moments: dict[tuple[str, str], Moments] = {}
    with torch.no_grad():
        for node, (a, b) in lockstep(derived.traced.captured, (target, source), inputs):
            for number, place in enumerate(places.get(node.name, ())):
                key = (place.group, f"{node.name}.{number}")
                moments[key] = Moments.of(place.rows(a), place.rows(b))
    rows = next((x.shape[0] for x in inputs if isinstance(x, Tensor) and x.ndim), 0)
    return Statistics(moments, rows)
