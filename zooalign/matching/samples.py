"""Responses of many networks' units to the same inputs, collected in one pass over the data.

All networks run in lock-step through the graph they share. At every place where a group can be
compared, the responses at some positions of each batch are kept, the same positions for every
network; at the end they are standardised, so that inner products are correlations. What is kept
grows with the number of networks and with the data, not with the number of pairs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.batches import Batch
from zooalign.graph.lazy_state import State
from zooalign.matching.unit_responses import Graphs, PlaceKey, row_count
from zooalign.matching.unit_views import UnitView
from zooalign.progress import StepProgress

__all__ = ["Samples", "SamplesReader"]

# By place: the place, and for each state dict its columns of every batch.
_Columns = dict[PlaceKey, tuple[UnitView, list[list[Tensor]]]]


@dataclass(frozen=True, eq=False)
class Samples:
    """Standardised responses of the units of several networks to ``count`` rows of data."""

    # One mapping a network, group id to float32 of shape (units, samples): scaled such that the
    # inner product of two networks' rows is the correlation (or covariance) of the units summed
    # over the group's places and the checkpoints of a network.
    rows: tuple[Mapping[str, Tensor], ...]
    # At how many places each group was seen, by their weight; times the checkpoints.
    places: Mapping[str, float]
    count: int

    @property
    def bytes(self) -> int:
        """What the rows take."""
        return sum(t.numel() * t.element_size() for network in self.rows for t in network.values())


@dataclass(frozen=True, kw_only=True)
class SamplesReader:
    """Collects :class:`Samples` of the groups that can be compared.

    ``columns`` says how many positions (examples, and places in an image or a sequence) of each
    batch are kept at each place, chosen by ``seed``; a batch with fewer is kept whole.
    """

    graphs: Graphs
    columns: int
    kind: str
    seed: int
    progress: StepProgress

    def __post_init__(self) -> None:
        if self.columns < 2:
            raise MergeError(
                f"columns is {self.columns}; statistics take two samples of a batch or more"
            )

    def read(
        self,
        networks: Sequence[Sequence[State]],
        batches: Iterable[Batch],
        groups: frozenset[str],
        known: frozenset[str],
    ) -> Samples:
        """Samples of some groups; in those of ``known`` the networks are in one order already."""
        states = [state for network in networks for state in network]
        columns: _Columns = {}
        count = 0
        for number, batch in enumerate(batches):
            for key, place, (values,) in self.graphs.responses(states, [batch], groups, known):
                if key not in columns:
                    columns[key] = (place, [[] for _ in states])
                for rows, picked in zip(
                    columns[key][1], self._picked(place, values, number), strict=True
                ):
                    rows.append(picked)
            count += row_count(batch)
            self.progress(number + 1)
        return self._standardised(columns, len(networks), count)

    def _picked(self, place: UnitView, values: Sequence[Tensor], number: int) -> list[Tensor]:
        """The same columns of every network's rows."""
        rows = [place.rows(value).float() for value in values]
        total = rows[0].shape[1]
        if total <= self.columns:
            return [row.clone() for row in rows]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        index = torch.randperm(total, generator=generator)[: self.columns].to(rows[0].device)
        return [row.index_select(1, index) for row in rows]

    def _standardised(self, columns: _Columns, networks: int, count: int) -> Samples:
        rows: list[dict[str, list[Tensor]]] = [defaultdict(list) for _ in range(networks)]
        weights: dict[str, float] = defaultdict(float)
        for key in list(columns):
            place, parts = columns.pop(key)
            times = len(parts) // networks
            weights[place.group] += place.weight * times
            for n, part in enumerate(parts):
                standard = _standard(torch.cat(part, dim=1), self.kind).mul_(place.weight**0.5)
                rows[n // times][place.group].append(standard)
        joined = tuple({g: torch.cat(r, dim=1) for g, r in network.items()} for network in rows)
        return Samples(joined, dict(weights), count)


def _standard(rows: Tensor, kind: str) -> Tensor:
    """Rows whose inner products are covariances, or correlations (zero for a constant unit)."""
    centred = rows - rows.mean(1, keepdim=True)
    centred /= rows.shape[1] ** 0.5
    if kind == "covariance":
        return centred
    spread = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    scale = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / rows.shape[1] ** 0.5
    constant = spread <= 1e-6 * scale
    return centred / torch.where(constant, torch.inf, spread)
