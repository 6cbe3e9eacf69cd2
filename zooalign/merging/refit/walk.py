"""One walk through the graph, the merge refitted product by product beside its parents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.errors import MergeError
from zooalign.graph.execute import called, steps
from zooalign.graph.lazy_state import State
from zooalign.merging.affine_correction import Norm, aliases_of, reset_norm
from zooalign.merging.refit.plan import Fit, Plan
from zooalign.merging.refit.report import RefitLayer, RefitSettings
from zooalign.merging.refit.samples import PARTS, Split, sampled
from zooalign.merging.refit.solve import (
    ReluRows,
    Solution,
    averaged,
    best_ridge,
    relu_rounds,
    solved,
    unexplained,
)
from zooalign.merging.refit.sums import Sums
from zooalign.merging.refit.targets import Parents, Read, Sampling
from zooalign.merging.statistics import UnitMoments
from zooalign.progress import Progress, silent

__all__ = ["Calibration", "Walk", "Walked", "mean_of"]


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


@dataclass(frozen=True, eq=False)
class Walked:
    """A refitted state dict, its layers, and what it and the parents' mean return by batch."""

    state: dict[str, Tensor]
    layers: tuple[RefitLayer, ...]
    outputs: list[Tensor]
    wanted: list[Tensor]


class Walk:
    """The merge on its way through a plan's graph."""

    def __init__(
        self,
        plan: Plan,
        calibration: Calibration,
        settings: RefitSettings,
        split: Split,
        rounds: int,
        progress: Progress = silent,
    ) -> None:
        self._plan, self._calibration, self._settings = plan, calibration, settings
        self._split, self._rounds, self._progress = split, rounds, progress
        self._state = dict(calibration.start)
        self._nodes = list(plan.captured.graph.nodes)
        self._sampling = self._positions()
        self._parents = Parents(
            plan, calibration.parents, calibration.batches, self._sampling,
            inputs=settings.inputs != "merge",
        )  # fmt: skip
        # Arguments that differ from the state dict the walk began with.
        self._changed: dict[fx.Node, Tensor] = {}
        self._stored = {name: node for node, name in self._parameters()}
        # Values that a product or a norm will read, for each batch, and the node that is the last.
        self._values: dict[fx.Node, list[Any]] = {}
        self._readers = self._last_readers()
        # Intercepts that a normalisation has to take up.
        self._intercepts: dict[fx.Node, Tensor] = {}
        self._layers = dict(plan.averaged)

    def run(self) -> Walked:
        """Refit and run every node in turn."""
        runs = [
            steps(self._plan.captured, self._calibration.start, batch, call=self._call)
            for batch in self._calibration.batches
        ]
        done, values = 0, []
        for node in self._nodes:
            if node in self._plan.fits:
                self._fit(self._plan.fits[node])
                done += 1
                self._progress("refit", done, len(self._plan.fits))
            if node in self._plan.norms:
                self._normalise(self._plan.norms[node])
            values = [next(run)[1] for run in runs]
            if node in self._readers:
                self._values[node] = values
            for kept in [n for n in self._values if self._readers[n] is node]:
                del self._values[kept]
        self._parents.finish()
        layers = tuple(self._layers[node] for node in self._nodes if node in self._layers)
        return Walked(self._state, layers, [value[0] for value in values], self._mean_outputs())

    def _call(self, node: fx.Node, known: Mapping[fx.Node, Any]) -> Any:
        changed = {n: self._changed[n] for n in node.all_input_nodes if n in self._changed}
        return called(node, {**known, **changed}, None, self._calibration.device)

    def _parameters(self) -> list[tuple[fx.Node, str]]:
        names = self._plan.captured.parameters
        return [(n, names[n.name]) for n in self._nodes if n.name in names]

    def _positions(self) -> Sampling:
        """Where each layer is read: the same positions in all networks."""
        given, batches = self._calibration, len(self._calibration.batches)
        limit, seed = self._settings.positions, self._settings.seed
        sampling = {}
        for number, (node, fit) in enumerate(self._plan.fits.items()):
            sizes = fit.product.positions(given.rows)
            sampling[node] = {
                part: sampled(self._split, part, given.rows, batches, sizes, limit, seed + number)
                for part in PARTS
            }
        return sampling

    def _last_readers(self) -> dict[fx.Node, fx.Node]:
        readers: dict[fx.Node, fx.Node] = {}
        for node in self._nodes:
            if node in self._plan.fits:
                fit = self._plan.fits[node]
                others = [] if fit.chain.other is None else [fit.chain.other]
                readers |= dict.fromkeys([fit.product.input, *others], node)
            if node in self._plan.norms:
                readers[self._plan.norms[node].source] = node
        return readers

    def _fit(self, fit: Fit) -> None:
        """Solve for the product's weight and bias, and go on with these."""
        product, chain = fit.product, fit.chain
        read = self._parents.read(fit)
        sums = {part: self._sums(fit, read, part) for part in PARTS}
        whole = sums["fit"] + sums["judge"]
        if not torch.isfinite(whole.gram).all() or not torch.isfinite(whole.cross).all():
            raise MergeError(
                f"the input or the output of the layer of '{product.name}' is not finite on the "
                "calibration data. Check the weights and the data for NaN and infinity."
            )
        start, intercept, chosen = self._start(fit), chain.intercept, self._settings.ridge
        if chosen == "auto":
            chosen = best_ridge(sums["fit"], sums["judge"], start, intercept)
        rounds = self._rounds if chain.relu and self._settings.inputs == "merge" else 0
        if rounds:
            rows = self._relu_rows(fit, read)
            solution = relu_rounds(rows, whole, start, chosen, intercept, rounds)
        else:
            solution = solved(whole, start, chosen, intercept)
        errors = [
            unexplained(s, sums["judge"]) if sums["judge"].count > 0 else None
            for s in (
                averaged(sums["fit"], start, intercept),
                solved(sums["fit"], start, chosen, intercept),
            )
        ]
        self._layers[product.node] = RefitLayer(
            product.name, None, chosen, int(whole.count), errors[0], errors[1], rounds
        )
        self._put(fit, solution)

    def _start(self, fit: Fit) -> Tensor:
        """The average as a matrix: behind the normalisation, if one is fitted with it."""
        product, norm = fit.product, fit.chain.norm
        given = self._calibration
        if norm is None:
            return product.matrix(given.start[product.name]).double()
        total = torch.zeros(product.size, dtype=torch.float64, device=self._calibration.device)
        for state, share in zip(given.parents, given.shares, strict=True):
            std = (state[norm.variance].double() + norm.eps).sqrt()
            scale = (state[str(norm.scale)].double() / std).reshape(product.size[0], 1, -1)
            total += share * product.matrix(state[product.name]).double() * scale
        return total

    def _sums(self, fit: Fit, read: Read, part: str) -> Sums:
        parts = []
        for batch in range(len(self._calibration.batches)):
            targets, inputs = read.targets[part, batch], read.inputs[part, batch]
            shares = self._calibration.shares
            if self._settings.inputs == "own":
                parts += [Sums.of(x, y, w) for x, y, w in zip(inputs, targets, shares, strict=True)]
                continue
            rows = self._rows(fit, part, batch) if not inputs else mean_of(inputs, shares)
            parts.append(Sums.of(rows, mean_of(targets, shares) - self._other(fit, part, batch)))
        return reduce(add, parts)

    def _rows(self, fit: Fit, part: str, batch: int) -> Tensor:
        samples = self._sampling[fit.product.node][part][batch]
        return fit.product.rows(self._values[fit.product.input][batch], samples)

    def _other(self, fit: Fit, part: str, batch: int) -> Tensor | float:
        """The other term of the sum that the targets are; zero without one."""
        if fit.chain.other is None:
            return 0.0
        samples = self._sampling[fit.product.node][part][batch]
        return fit.product.outputs(self._values[fit.chain.other][batch], samples)

    def _relu_rows(self, fit: Fit, read: Read) -> ReluRows:
        keys = [(part, n) for n in range(len(self._calibration.batches)) for part in PARTS]
        shares = self._calibration.shares
        rows = torch.cat([self._rows(fit, *key) for key in keys])
        behind = torch.cat(
            [mean_of([y.clamp(min=0) for y in read.targets[key]], shares) for key in keys]
        )
        if fit.chain.other is None:
            return ReluRows(rows, torch.zeros(1, *behind.shape[1:]).to(behind), behind)
        other = [self._other(fit, *key) for key in keys]
        return ReluRows(rows, torch.cat([x for x in other if isinstance(x, Tensor)]), behind)

    def _put(self, fit: Fit, solution: Solution) -> None:
        product, chain = fit.product, fit.chain
        weight = self._state[product.name]
        matrix = solution.matrix.to(weight)
        self._store(product.name, product.stored(matrix))
        self._changed[product.weight] = product.called(matrix)
        intercept = solution.intercept
        if chain.norm is not None:
            self._intercepts[chain.norm.node] = intercept.flatten()
            intercept = torch.zeros_like(intercept)
        if chain.bias is not None:
            bias = self._state[chain.bias]
            self._store(chain.bias, product.units(intercept).reshape(bias.shape).to(bias))

    def _normalise(self, norm: Norm) -> None:
        """Reset statistics; with an intercept to take up, leave its input but for that."""
        moments = [self._moments(x, n) for n, x in enumerate(self._values[norm.source])]
        fresh = reset_norm(norm, self._state, reduce(add, moments))
        for name, value in fresh.items():
            self._store(name, value)
        intercept = self._intercepts.pop(norm.node, None)
        if intercept is not None and norm.scale is not None and norm.shift is not None:
            std = (fresh[norm.variance].double() + norm.eps).sqrt()
            shift = fresh[norm.mean].double() + intercept
            for name, values in ((norm.scale, std), (norm.shift, shift)):
                self._store(name, values.to(self._state[name]))

    def _moments(self, value: Tensor, batch: int) -> UnitMoments:
        rows = self._calibration.rows
        if len(value) == rows:
            seen = self._split.part(torch.arange(rows) + rows * batch, "seen")
            value = value[seen.to(value.device)]
        return UnitMoments.of(value, 1)

    def _store(self, name: str, value: Tensor) -> None:
        for alias in aliases_of(self._plan.captured, self._state, name):
            self._state[alias] = value
            if alias in self._stored:
                self._changed[self._stored[alias]] = value

    def _mean_outputs(self) -> list[Tensor]:
        """The mean of what the parents return first, by batch."""
        firsts = [[outputs[0] for outputs in parent] for parent in self._parents.outputs]  # type: ignore[index]
        return [
            mean_of(list(values), self._calibration.shares) for values in zip(*firsts, strict=True)
        ]


def mean_of(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted mean of one value of each parent."""
    return reduce(add, [share * value for share, value in zip(shares, values, strict=True)])
