"""Responses of many networks' units to the same inputs, collected in one pass over the data.

All networks run in lock-step through the graph they share. At every place where a group can be
compared, the responses at some positions of each batch are kept, the same positions for every
network; at the end they are standardised, so that inner products are correlations. What is kept
grows with the number of networks and with the data, not with the number of pairs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import Batch, read_batches
from zooalign.graph.execute import lockstep
from zooalign.matching.activation import Graphs, rounds
from zooalign.matching.unit_views import UnitView
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Samples", "SamplesReader"]

State = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Samples:
    """Standardised responses of the units of several networks.

    Attributes
    ----------
    rows:
        One mapping a network, group id to float32 of shape (units, samples): scaled such that the
        inner product of two networks' rows is the correlation (or covariance) of the units summed
        over the group's places and the checkpoints of a network.
    places:
        At how many places each group was seen, by their weight; times the checkpoints.
    count:
        Rows of the data.
    """

    rows: tuple[Mapping[str, Tensor], ...]
    places: Mapping[str, float]
    count: int

    @property
    def bytes(self) -> int:
        """What the rows take."""
        return sum(t.numel() * t.element_size() for network in self.rows for t in network.values())


class SamplesReader:
    """Collects :class:`Samples` of the groups that can be compared, round by round.

    Almost always there is one round; see :func:`~zooalign.matching.activation.rounds`.

    Parameters
    ----------
    columns:
        How many positions (examples, and places in an image or a sequence) of each batch are
        kept at each place; a batch with fewer is kept whole. The choice depends on ``seed``.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        module: nn.Module,
        device: torch.device,
        *,
        columns: int = 1024,
        kind: str = "correlation",
        seed: int = 0,
        progress: StepProgress = silent_steps,
    ) -> None:
        if columns < 2:
            raise MergeError(
                f"columns is {columns}; statistics take two samples of a batch or more"
            )
        self._graphs = Graphs(spec, module, device)
        self._columns, self._kind, self._seed = columns, kind, seed
        self._progress = progress

    def plan(self, data: Iterable[Any]) -> tuple[tuple[frozenset[str], ...], Iterable[Batch]]:
        """The rounds, and the batches from the first one on (which had to be read)."""
        batches = read_batches(data)
        first = next(batches)
        return rounds(self._graphs.spec, self._graphs(first)[1]), chain([first], batches)

    def read(
        self,
        networks: Sequence[Sequence[State]],
        batches: Iterable[Batch],
        groups: frozenset[str],
        known: frozenset[str] = frozenset(),
    ) -> Samples:
        """Samples of some groups; in those of ``known`` the networks are in one order already."""
        states = [state for network in networks for state in network]
        kept: dict[tuple[str, int], list[list[Tensor]]] = {}
        chosen: dict[tuple[str, int], UnitView] = {}
        count = 0
        for number, batch in enumerate(batches):
            derived, places = self._graphs(batch)
            inputs = batch.to(self._graphs.device).args
            for node, values in lockstep(derived.traced.captured, states, inputs):
                for index, place in enumerate(places.get(node.name, ())):
                    if place.group not in groups or not place.beside <= known:
                        continue
                    key = (node.name, index)
                    chosen[key] = place
                    parts = self._picked(place, values, number)
                    for whole, part in zip(
                        kept.setdefault(key, [[] for _ in states]), parts, strict=True
                    ):
                        whole.append(part)
            count += next((x.shape[0] for x in inputs if isinstance(x, Tensor) and x.ndim), 0)
            self._progress(number + 1)
        return self._standardised(kept, chosen, len(networks), count)

    def _picked(self, place: UnitView, values: Sequence[Tensor], number: int) -> list[Tensor]:
        """The same columns of every network's rows."""
        rows = [place.rows(value).float() for value in values]
        total = rows[0].shape[1]
        if total <= self._columns:
            return [row.clone() for row in rows]
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        index = torch.randperm(total, generator=generator)[: self._columns].to(rows[0].device)
        return [row.index_select(1, index) for row in rows]

    def _standardised(
        self,
        kept: dict[tuple[str, int], list[list[Tensor]]],
        chosen: Mapping[tuple[str, int], UnitView],
        networks: int,
        count: int,
    ) -> Samples:
        rows: list[dict[str, list[Tensor]]] = [defaultdict(list) for _ in range(networks)]
        weights: dict[str, float] = defaultdict(float)
        for key in list(kept):
            place, parts = chosen[key], kept.pop(key)
            times = len(parts) // networks
            weights[place.group] += place.weight * times
            for n, part in enumerate(parts):
                standard = _standard(torch.cat(part, dim=1), self._kind).mul_(place.weight**0.5)
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
