"""What the parents compute, at the sampled positions of each refitted layer.

All parents run side by side through the graph, no further than the next targets, so that values
are kept for a few layers at a time; where memory allows, targets are kept for further walks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import torch
from torch import Tensor, fx

from zooalign.graph.execute import in_order, steps
from zooalign.graph.lazy_state import State
from zooalign.merging.refit.plan import Fit, Plan
from zooalign.merging.refit.report import RefitSettings
from zooalign.merging.refit.samples import PARTS, Samples, sampled

__all__ = ["Calibration", "Parents", "Read", "mean_of"]

_FLOAT32 = 4


@dataclass(frozen=True, eq=False)
class Calibration:
    """Parents, their weights, the merge to start from, and inputs, ``rows`` in each batch.

    ``labels`` are the targets of all rows, where the data has some.
    """

    parents: Sequence[State]
    shares: Sequence[float]
    start: State
    batches: Sequence[tuple[object, ...]]
    rows: int
    labels: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """The device of the inputs."""
        tensors = (x for x in self.batches[0] if isinstance(x, Tensor))
        return next((x.device for x in tensors), torch.device("cpu"))


def mean_of(values: Sequence[Tensor], shares: Sequence[float | Tensor]) -> Tensor:
    """The weighted mean of one value of each parent."""
    return reduce(add, [value * share for value, share in zip(values, shares, strict=True)])


@dataclass(frozen=True, eq=False)
class Read:
    """What each parent has at one layer, by part and batch: inputs (n, g, i), targets (n, g, o)."""

    inputs: dict[tuple[str, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    targets: dict[tuple[str, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))


class Parents:
    """Parents that run through a plan's graph on all batches, node by node."""

    def __init__(self, plan: Plan, calibration: Calibration, settings: RefitSettings) -> None:
        self._plan, self._calibration = plan, calibration
        self._nodes = list(in_order(plan.captured))
        self._number = {node: number for number, node in enumerate(self._nodes)}
        self._sampling = _positions(plan, calibration, settings)
        self._keeps = _size(plan, calibration, settings) <= settings.memory
        self._targets: dict[fx.Node, list[Fit]] = defaultdict(list)
        self._inputs: dict[fx.Node, list[Fit]] = defaultdict(list)
        for fit in plan.fits.values():
            self._targets[fit.chain.target].append(fit)
            if settings.inputs != "merge":
                self._inputs[fit.product.input].append(fit)
        self._done = len(self._nodes)
        self._outputs: list[Tensor] | None = None

    def begin(self) -> None:
        """Start at the first node, unless everything is known from before."""
        if self._keeps and self._outputs is not None:
            return
        given = self._calibration
        self._runs = [
            [steps(self._plan.captured, state, batch) for batch in given.batches]
            for state in given.parents
        ]
        self._reads: dict[fx.Node, Read] = {node: Read() for node in self._plan.fits}
        self._done = 0

    def samples(self, fit: Fit, part: str, batch: int) -> Samples:
        """Where a layer is read: the same positions in all networks and walks."""
        return self._sampling[fit.product.node][part][batch]

    def read(self, fit: Fit) -> Read:
        """What is wanted of a layer."""
        while self._done <= self._number[fit.chain.target]:
            self._step()
        node = fit.product.node
        return self._reads[node] if self._keeps else self._reads.pop(node)

    def outputs(self) -> list[Tensor]:
        """The mean of what the parents return first, by batch."""
        while self._done < len(self._nodes):
            self._step()
        assert self._outputs is not None  # the output node was run
        return self._outputs

    def _step(self) -> None:
        node = self._nodes[self._done]
        self._done += 1
        firsts: list[list[Tensor]] = []
        for runs in self._runs:
            values = [next(run)[1] for run in runs]
            if node.op == "output":
                firsts.append([value[0] for value in values])
                continue
            for number, value in enumerate(values):
                self._keep(node, number, value)
        if firsts:
            shares = self._calibration.shares
            self._outputs = [mean_of(values, shares) for values in zip(*firsts, strict=True)]

    def _keep(self, node: fx.Node, batch: int, value: Tensor) -> None:
        for part in PARTS:
            for fit in self._inputs.get(node, ()):
                rows = fit.product.rows(value, self.samples(fit, part, batch))
                self._reads[fit.product.node].inputs[part, batch].append(rows)
            for fit in self._targets.get(node, ()):
                rows = fit.outputs(value, self.samples(fit, part, batch))
                self._reads[fit.product.node].targets[part, batch].append(rows)


def _positions(
    plan: Plan, calibration: Calibration, settings: RefitSettings
) -> Mapping[fx.Node, Mapping[str, Sequence[Samples]]]:
    """Positions by product, part and batch."""
    rows, batches, limit = calibration.rows, len(calibration.batches), settings.positions
    sampling = {}
    for number, (node, fit) in enumerate(plan.fits.items()):
        sizes, seed = fit.product.positions(rows), settings.seed + number
        sampling[node] = {part: sampled(part, rows, batches, sizes, limit, seed) for part in PARTS}
    return sampling


def _size(plan: Plan, calibration: Calibration, settings: RefitSettings) -> int:
    """Bytes of everything read of the parents."""
    total = 0
    for fit in plan.fits.values():
        count, positions = fit.product.positions(calibration.rows)
        rows = min(settings.positions, count * positions * len(calibration.batches))
        groups, inputs, outputs = fit.product.size
        each = outputs + (inputs if settings.inputs != "merge" else 0)
        total += rows * groups * each * len(calibration.parents) * _FLOAT32
    return total
