"""Activation matching: units that respond alike to data are one.

Both models run in lock-step through the graph they share; wherever a group's units appear the
cross-statistics are added up, and the tensor is dropped. One assignment per family of nested
groups then maximises the summed correlation (Li et al. 2015, arXiv 1511.07543; Tatro et al. 2020,
arXiv 2009.02439), or covariance.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import Batch, read_batches, require_repeatable
from zooalign.graph.execute import lockstep
from zooalign.matching.assignment import (
    AssignmentSolver,
    assign,
    linear,
    unit_order,
    whole,
)
from zooalign.matching.places import Place, activation_places, families
from zooalign.matching.result import Match
from zooalign.matching.statistics import Moments, Statistics
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = [
    "Graphs",
    "activation_matching",
    "activation_similarity",
    "collect",
    "match_statistics",
    "rounds",
]

Progress = Callable[[int], None]


def activation_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    kind: str = "correlation",
    places: str = "activations",
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
        Batches of inputs, or of (inputs, targets); targets are not used. Read once, unless
        :func:`rounds` says otherwise.
    kind:
        ``correlation`` or ``covariance``.
    places:
        ``activations``: behind activation functions, for every group that stands there, and
        everywhere for the others; ``all``: everywhere for all.

    Raises
    ------
    DataError
        If the data holds no batch, or one the module cannot be traced with.
    MergeError
        If the graph of the module has other symmetries than the spec.
    """
    return activation_similarity(
        spec,
        target,
        source,
        module=module,
        data=data,
        kind=kind,
        places=places,
        solver=solver,
        progress=progress,
    )[0]


def activation_similarity(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    kind: str = "correlation",
    places: str = "activations",
    solver: AssignmentSolver = linear,
    progress: Progress | None = None,
) -> tuple[Match, dict[str, np.ndarray]]:
    """As :func:`activation_matching`, with the similarities it is the best assignment of.

    Returns
    -------
    The match, and per group the mean similarity of units over the places where they are seen: an
    array of shape (units, units), target by source as it was given.
    """
    graphs = Graphs(spec, module, _device(target), places)
    found = spec.identity()
    known: frozenset[str] = frozenset()
    reports: list[Match] = []
    similarity: dict[str, np.ndarray] = {}
    batches = read_batches(data)
    first = next(batches)
    plan = rounds(spec, graphs(first)[1])
    if len(plan) > 1:
        require_repeatable(data, "the calibration data", f"{len(plan)} times")
    for number, groups in enumerate(plan):
        stream = chain([first], batches) if number == 0 else read_batches(data)
        moved = Permuted(spec, found, source) if known else source
        statistics = _collect(graphs, target, moved, stream, groups, known, progress)
        step = match_statistics(spec, statistics, kind=kind, solver=solver)
        for group, matrix in statistics.similarity(kind).items():
            similarity[group] = np.empty(tuple(matrix.shape))
            order = unit_order(spec, group, found)  # the columns' place in the source as given
            similarity[group][:, order] = matrix.cpu().numpy() / statistics.places(group)
        found = spec.compose(step.permutation, found)
        known |= groups
        reports.append(step)
    return _joined(spec, found, reports), similarity


def rounds(
    spec: PermutationSpec, places: Mapping[str, Sequence[Place]]
) -> tuple[frozenset[str], ...]:
    """Which groups can be matched in which pass over the data.

    Almost always there is one pass. The hidden units of a token-mixing layer are seen only beside
    the channels of the stream; they are matched once the order of the channels is known.
    """
    seen: dict[str, list[frozenset[str]]] = defaultdict(list)
    for found in places.values():
        for place in found:
            seen[place.group].append(place.beside)
    waiting = [f for f in families(spec) if any(g in seen for g in f)]
    known: frozenset[str] = frozenset()
    plan: list[frozenset[str]] = []
    while waiting:

        def usable(group: str, known: frozenset[str] = known) -> bool:
            return any(beside <= known for beside in seen[group])

        ready = [f for f in waiting if all(usable(g) for g in f if g in seen)]
        ready = ready or [f for f in waiting if any(usable(g) for g in f if g in seen)]
        if not ready:
            break
        plan.append(frozenset(g for f in ready for g in f))
        known |= plan[-1]
        waiting = [f for f in waiting if f not in ready]
    return tuple(plan)


def _joined(spec: PermutationSpec, found: Permutation, reports: Sequence[Match]) -> Match:
    """One report of several passes, which matched different groups."""
    weights = [report.details["units"] for report in reports]
    total = sum(weights) or 1.0

    def mean(values: Iterable[float]) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True)) / total

    return Match(
        found,
        "activation",
        mean(r.objective_before for r in reports),
        mean(r.objective_after for r in reports),
        {
            "samples": max((r.details["samples"] for r in reports), default=0),
            "places": sum(r.details["places"] for r in reports),
            "passes": len(reports),
            "units": sum(weights),
        },
    )


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
        order = unit_order(spec, group, permutation)
        places = statistics.places(group)
        before += float(matrix.trace()) / places
        paired += float(matrix[range(len(order)), order].sum()) / places
        total += len(order)
    return Match(
        permutation,
        "activation",
        before / total if total else 0.0,
        paired / total if total else 0.0,
        {"samples": statistics.samples, "places": len(statistics.moments), "units": total},
    )


def collect(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    groups: frozenset[str] | None = None,
    known: frozenset[str] = frozenset(),
    places: str = "activations",
    progress: Progress | None = None,
) -> Statistics:
    """Cross-statistics of the first round's groups (or those named) over all batches, in one pass.

    Parameters
    ----------
    groups:
        The groups to look at; those of the first of :func:`rounds` if not given.
    known:
        Groups in which ``source`` is in the order of ``target`` already.
    """
    graphs = Graphs(spec, module, _device(target), places)
    return _collect(graphs, target, source, read_batches(data), groups, known, progress)


def _collect(
    graphs: "Graphs",
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    batches: Iterable[Batch],
    groups: frozenset[str] | None,
    known: frozenset[str],
    progress: Progress | None,
) -> Statistics:
    found = Statistics({})
    for number, batch in enumerate(batches):
        derived, places = graphs(batch)
        if groups is None:
            groups = next(iter(rounds(graphs.spec, places)), frozenset())
        chosen = {
            node: [p for p in at if p.group in groups and p.beside <= known]
            for node, at in places.items()
        }
        inputs = batch.to(graphs.device).args
        found = found + _moments(derived, chosen, target, source, inputs)
        if progress is not None:
            progress(number + 1)
    return found


def _device(state: Mapping[str, Tensor]) -> torch.device:
    return next((state[name].device for name in state), torch.device("cpu"))


class Graphs:
    """The module's graph and places for each shape of inputs, traced when first met."""

    def __init__(
        self,
        spec: PermutationSpec,
        module: nn.Module,
        device: torch.device,
        places: str,
    ) -> None:
        if places not in ("activations", "all"):
            raise MergeError(f"no places '{places}'; there are 'activations' and 'all'")
        self.spec, self.module, self.device = spec, module, device
        self.places = places
        self._known: dict[Any, tuple[Derived, dict[str, list[Place]]]] = {}

    def __call__(self, batch: Batch) -> tuple[Derived, dict[str, list[Place]]]:
        """Derive the spec for a batch of this shape, and where its units are read."""
        if batch.kwargs:
            raise DataError("activation matching takes positional inputs only, not keywords")
        inputs = batch.args
        key = tuple((tuple(x.shape), x.dtype) for x in inputs if isinstance(x, Tensor))
        if key not in self._known:
            derived = derive_spec(self.module, inputs)
            if derived.spec.hash != self.spec.hash:
                raise MergeError(
                    f"with inputs of shapes {[shape for shape, _ in key]} the module has the "
                    f"symmetries of spec {derived.spec.hash[:12]}, not of {self.spec.hash[:12]}: "
                    "extract the spec with inputs like the data"
                )
            self._known[key] = (derived, activation_places(derived, self.places))
        return self._known[key]


def _moments(
    derived: Derived,
    places: Mapping[str, Sequence[Place]],
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
) -> Statistics:
    moments: dict[tuple[str, str], Moments] = {}
    for node, (a, b) in lockstep(derived.traced.captured, (target, source), inputs):
        for number, place in enumerate(places.get(node.name, ())):
            key = (place.group, f"{node.name}.{number}")
            moments[key] = Moments.of(place.rows(a), place.rows(b), place.weight)
    rows = next((x.shape[0] for x in inputs if isinstance(x, Tensor) and x.ndim), 0)
    return Statistics(moments, rows)
