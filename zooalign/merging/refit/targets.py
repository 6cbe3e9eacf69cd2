"""What the parents compute, at the sampled positions of each refitted layer.

All parents run side by side through the graph, no further than the next targets, so that their
values are kept for a few layers at a time.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, fx

from zooalign.graph.execute import steps
from zooalign.graph.lazy_state import State
from zooalign.merging.refit.plan import Fit, Plan
from zooalign.merging.refit.samples import PARTS, Samples

__all__ = ["Parents", "Read", "Sampling"]

# Of each refitted product (by its node) the positions read, by part and batch.
Sampling = Mapping[fx.Node, Mapping[str, Sequence[Samples]]]


@dataclass(frozen=True, eq=False)
class Read:
    """What each parent has at one layer, by part and batch: inputs (n, g, i), targets (n, g, o)."""

    inputs: dict[tuple[str, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    targets: dict[tuple[str, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))


class Parents:
    """Parents that run through a plan's graph on all batches, node by node."""

    def __init__(
        self,
        plan: Plan,
        states: Sequence[State],
        batches: Sequence[tuple[object, ...]],
        sampling: Sampling,
        *,
        inputs: bool,
    ) -> None:
        self._runs = [[steps(plan.captured, state, batch) for batch in batches] for state in states]
        self._nodes = list(plan.captured.graph.nodes)
        self._number = {node: number for number, node in enumerate(self._nodes)}
        self._done = 0
        self._sampling = sampling
        self._reads: dict[fx.Node, Read] = {node: Read() for node in plan.fits}
        self._targets: dict[fx.Node, list[Fit]] = defaultdict(list)
        self._inputs: dict[fx.Node, list[Fit]] = defaultdict(list)
        for fit in plan.fits.values():
            self._targets[fit.chain.target].append(fit)
            if inputs:
                self._inputs[fit.product.input].append(fit)
        #: What each parent returns, by batch, once the last node was run.
        self.outputs: list[list[object]] = []

    def read(self, fit: Fit) -> Read:
        """What was wanted of a layer; it is not kept."""
        while self._done <= self._number[fit.chain.target]:
            self._step()
        return self._reads.pop(fit.product.node)

    def finish(self) -> None:
        """Run to the output."""
        while self._done < len(self._nodes):
            self._step()

    def _step(self) -> None:
        node = self._nodes[self._done]
        self._done += 1
        for runs in self._runs:
            values = [next(run)[1] for run in runs]
            for number, value in enumerate(values):
                self._keep(node, number, value)
            if node.op == "output":
                self.outputs.append(values)

    def _keep(self, node: fx.Node, batch: int, value: Tensor) -> None:
        for part in PARTS:
            for fit in self._inputs.get(node, ()):
                samples = self._sampling[fit.product.node][part][batch]
                rows = fit.product.rows(value, samples)
                self._reads[fit.product.node].inputs[part, batch].append(rows)
            for fit in self._targets.get(node, ()):
                samples = self._sampling[fit.product.node][part][batch]
                rows = fit.product.outputs(value, samples)
                self._reads[fit.product.node].targets[part, batch].append(rows)
