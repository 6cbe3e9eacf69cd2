"""What the units of two models respond with on data, and the permutation that this asks for.

Both models run in lock-step through the graph they share; wherever a group's units appear the
cross-statistics are added up, and the tensor is dropped.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import Batch, read_batches, require_repeatable
from zooalign.graph.execute import live_bytes, lockstep
from zooalign.matching.assignment import assign, unit_order, whole
from zooalign.matching.problem import Match, MatchProblem, Options, option
from zooalign.matching.statistics import KINDS, Moments, Similarities, Statistics
from zooalign.matching.unit_views import UnitView, activation_views, families
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = [
    "ActivationOptions",
    "Activations",
    "Graphs",
    "PlaceKey",
    "collect",
    "joined",
    "match_similarities",
    "match_statistics",
    "require_rounds",
    "rounds",
    "row_count",
]

# A node of the graph, and the number of the place in its tensor.
PlaceKey = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class ActivationOptions(Options):
    """What is compared of activations."""

    kind: str = option("correlation", "the statistic of activations", choices=KINDS)
    places: str = option(
        "activations",
        "where units are compared: behind activation functions, or wherever they appear",
        choices=("activations", "all"),
    )


class Activations:
    """The activations of a problem's two models, run once for each order of the source's units."""

    def __init__(self, problem: MatchProblem, places: str = "activations") -> None:
        self._problem = problem
        module, self._data = problem.run_on_data("activation")
        self._graphs = Graphs(problem.spec, module, problem.device, places)
        self._plan: tuple[tuple[frozenset[str], ...], Iterable[Batch]] | None = None
        self._collected: list[tuple[frozenset[str], Permutation, Statistics]] = []

    def match(self, kind: str = "correlation") -> tuple[Match, dict[str, np.ndarray]]:
        """The best match by a kind of statistic, with the similarities it is the best one of.

        These are, per group, the mean over the places where its units are seen, of shape (units,
        units), target by source as it was given.
        """
        spec = self._problem.spec
        permutation = spec.identity()
        known: frozenset[str] = frozenset()
        steps: list[Match] = []
        similarity: dict[str, np.ndarray] = {}
        if self._plan is None:
            self._plan = self._graphs.plan(self._data)
            require_rounds(self._data, len(self._plan[0]))
        plan, batches = self._plan
        for groups in plan:
            statistics = self._statistics(batches, groups, known, permutation)
            step = match_statistics(spec, statistics, kind=kind)
            for group, matrix in statistics.similarity(kind).items():
                similarity[group] = np.empty(tuple(matrix.shape))
                # The columns' place in the source as it was given.
                order = unit_order(spec, group, permutation)
                similarity[group][:, order] = matrix.cpu().numpy() / statistics.places(group)
            permutation = spec.compose(step.permutation, permutation)
            known |= groups
            steps.append(step)
        return joined(permutation, steps, len(steps)), similarity

    def _statistics(
        self,
        batches: Iterable[Batch],
        groups: frozenset[str],
        known: frozenset[str],
        permutation: Permutation,
    ) -> Statistics:
        """Those of some groups; statistics of several kinds come from the same moments."""
        for collected_groups, order, statistics in self._collected:
            if collected_groups == groups and order == permutation:
                return statistics
        stream = batches if not self._collected else read_batches(self._data)
        problem = self._problem
        if known:
            moved = Permuted(problem.spec, permutation, problem.source)
            problem = replace(problem, source=moved)
        statistics = self._graphs.statistics(problem, stream, groups, known)
        self._collected.append((groups, permutation, statistics))
        return statistics


def rounds(
    spec: PermutationSpec, places: Mapping[str, Sequence[UnitView]]
) -> tuple[frozenset[str], ...]:
    """Which groups can be matched in which pass over the data.

    Almost always there is one pass. The hidden units of a token-mixing layer are seen only beside
    the channels of the stream; they are matched once the order of the channels is known.
    """
    seen: dict[str, list[frozenset[str]]] = defaultdict(list)
    for place in chain.from_iterable(places.values()):
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


def require_rounds(data: Iterable[Any], count: int) -> None:
    """Raise DataError where the data can be read once only, and there are several rounds."""
    if count > 1:
        require_repeatable(data, "the calibration data", f"{count} times")


def joined(permutation: Permutation, steps: Sequence[Match], passes: int) -> Match:
    """One report of several matches by statistics, each of other groups."""
    units = sum(float(step.details["units"]) for step in steps)
    return Match(
        permutation,
        "activation",
        sum(float(s.details["units"]) * s.objective_before for s in steps) / (units or 1.0),
        sum(float(s.details["units"]) * s.objective_after for s in steps) / (units or 1.0),
        {
            "samples": max((int(step.details["samples"]) for step in steps), default=0),
            "places": sum(int(step.details["places"]) for step in steps),
            "passes": passes,
            "units": units,
        },
    )


def match_statistics(
    spec: PermutationSpec, statistics: Statistics, *, kind: str = "correlation"
) -> Match:
    """The permutation that given statistics ask for (they may be sums from several processes)."""
    return match_similarities(spec, statistics.similarities(kind))


def match_similarities(spec: PermutationSpec, similarities: Similarities) -> Match:
    """The permutation that given similarities ask for."""
    matrices = {g: m.cpu().numpy() for g, m in similarities.matrices.items()}
    permutation = whole(spec, assign(spec, matrices))
    paired = total = before = 0.0
    for group, matrix in matrices.items():
        order = unit_order(spec, group, permutation)
        places = similarities.weights[group]
        before += float(matrix.trace()) / places
        paired += float(matrix[range(len(order)), order].sum()) / places
        total += len(order)
    return Match(
        permutation,
        "activation",
        before / total if total else 0.0,
        paired / total if total else 0.0,
        {"samples": similarities.samples, "places": similarities.places, "units": total},
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
) -> Statistics:
    """Cross-statistics of the first round's groups (or those named) over all batches, in one pass.

    In the groups of ``known`` the source is in the order of the target already. The other arguments
    are those of :func:`zooalign.matching.match`.
    """
    problem = MatchProblem(spec, target, source, module, data)
    graphs = Graphs(spec, module, problem.device)
    plan, batches = graphs.plan(data)
    first_round = next(iter(plan), frozenset())
    return graphs.statistics(problem, batches, first_round if groups is None else groups, known)


class Graphs:
    """The module's graph and places for each shape of inputs, traced when first met."""

    def __init__(
        self,
        spec: PermutationSpec,
        module: nn.Module,
        device: torch.device,
        places: str = "activations",
    ) -> None:
        self.spec, self.module, self.device = spec, module, device
        self._which = places
        self._known: dict[Hashable, tuple[Derived, dict[str, list[UnitView]]]] = {}

    def _traced(self, batch: Batch) -> tuple[Derived, dict[str, list[UnitView]]]:
        """The graph for a batch of this shape, and where units are read in it."""
        if batch.kwargs:
            raise DataError("activation matching takes positional inputs only, not keywords")
        key = _shapes_of(batch)
        if key not in self._known:
            allow = self.spec.value_dependent
            derived = derive_spec(self.module, batch.args, allow_value_dependent=allow)
            if derived.spec.hash != self.spec.hash:
                raise MergeError(
                    f"with inputs of shapes {[shape for shape, _ in key]} the module has the "
                    f"symmetries of spec {derived.spec.hash[:12]}, not of {self.spec.hash[:12]}: "
                    "extract the spec with inputs like the data"
                )
            self._known[key] = (derived, activation_views(derived, self._which))
        return self._known[key]

    def plan(self, data: Iterable[Any]) -> tuple[tuple[frozenset[str], ...], Iterable[Batch]]:
        """The rounds, and the batches from the first one on (which had to be read)."""
        batches = read_batches(data)
        first = next(batches)
        return rounds(self.spec, self._traced(first)[1]), chain([first], batches)

    def places(
        self, batch: Batch, groups: frozenset[str], known: frozenset[str]
    ) -> dict[str, dict[int, UnitView]]:
        """Where some groups are read on a batch, by the node and the number of the place.

        In the groups of ``known`` the networks are in one order already.
        """
        usable = {
            node: {
                number: place
                for number, place in enumerate(places)
                if place.group in groups and place.beside <= known
            }
            for node, places in self._traced(batch)[1].items()
        }
        return {node: places for node, places in usable.items() if places}

    def blocks(self, batches: Iterable[Batch], memory: int) -> Iterator[list[Batch]]:
        """Batches of one shape, as many together as two networks have room for side by side."""
        block: list[Batch] = []
        most = 1
        for batch in batches:
            if block and (len(block) >= most or _shapes_of(batch) != _shapes_of(block[0])):
                yield block
                block = []
            if not block:
                each = 2 * live_bytes(self._traced(batch)[0].traced.captured)
                most = max(1, memory // max(1, each))
            block.append(batch)
        if block:
            yield block

    def responses(
        self,
        states: Sequence[Mapping[str, Tensor]],
        block: Sequence[Batch],
        groups: frozenset[str],
        known: frozenset[str],
    ) -> Iterator[tuple[PlaceKey, UnitView, list[tuple[Tensor, ...]]]]:
        """Every place where some groups are read, with the tensors of all networks, by batch.

        The batches are of one shape and run side by side, node by node, to the last place. In the
        groups of ``known`` the networks are in one order already.
        """
        captured = self._traced(block[0])[0].traced.captured
        places = self.places(block[0], groups, known)
        inputs = [batch.to(self.device).args for batch in block]
        runs = zip(*(lockstep(captured, states, args) for args in inputs), strict=True)
        left = len(places)
        for step in runs if left else ():
            node = step[0][0]
            if node.name not in places:
                continue
            values = [by_network for _, by_network in step]
            for number, place in places[node.name].items():
                yield (node.name, number), place, values
            left -= 1
            if not left:
                return

    def statistics(
        self,
        problem: MatchProblem,
        batches: Iterable[Batch],
        groups: frozenset[str],
        known: frozenset[str],
    ) -> Statistics:
        """Cross-statistics of some groups over all batches."""
        states = (problem.target, problem.source)
        statistics = Statistics({})
        for number, batch in enumerate(batches):
            moments = {
                (place.group, ".".join(map(str, key))): Moments.of(
                    place.rows(a), place.rows(b), place.weight
                )
                for key, place, ((a, b),) in self.responses(states, [batch], groups, known)
            }
            statistics += Statistics(moments, row_count(batch))
            problem.progress(number + 1)
        return statistics


def _shapes_of(batch: Batch) -> tuple[tuple[tuple[int, ...], torch.dtype], ...]:
    return tuple((tuple(x.shape), x.dtype) for x in batch.args if isinstance(x, Tensor))


def row_count(batch: Batch) -> int:
    """How many rows a batch has, by its first tensor that has any axes."""
    return next((x.shape[0] for x in batch.args if isinstance(x, Tensor) and x.ndim), 0)
