"""One walk through the graph, the merge refitted product by product beside its parents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.errors import MergeError
from zooalign.graph.execute import called, in_order, steps
from zooalign.merging.affine_correction import Norm, aliases_of, reset_norm
from zooalign.merging.refit.plan import Fit, Plan
from zooalign.merging.refit.report import RefitLayer, RefitSettings
from zooalign.merging.refit.samples import Split
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
from zooalign.merging.refit.targets import Calibration, Parents, mean_of
from zooalign.merging.statistics import UnitMoments
from zooalign.progress import Progress, silent

__all__ = ["Walk", "Walked"]

# Weights that sum to less are none.
_NOTHING = 1e-12
# A layer scale below this share of the parents' is not divided by.
_FAINT = 1e-2
# Inputs per row from which on a layer is solved in the space of its rows.
_FEWER = 2


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
        parents: Parents | None = None,
    ) -> None:
        self._plan, self._calibration, self._settings = plan, calibration, settings
        self._parents = parents
        self._state = dict(calibration.start)
        self._nodes = list(in_order(plan.captured))
        # Arguments that differ from the state dict the walk began with.
        self._changed: dict[fx.Node, Tensor] = {}
        self._stored = {name: node for node, name in self._parameters()}
        # Values that a product or a norm will read, for each batch, and the node that is the last.
        self._values: dict[fx.Node, list[Any]] = {}
        self._readers = self._last_readers()
        # Intercepts that a normalisation has to take up.
        self._intercepts: dict[fx.Node, Tensor] = {}
        self._layers = dict(plan.averaged)

    def run(self, split: Split, rounds: int = 0, progress: Progress = silent) -> Walked:
        """Refit and run every node in turn, with so many ReLU rounds."""
        self._split, self._rounds = split, rounds
        if self._parents is not None:
            self._parents.begin()
        runs = [
            steps(self._plan.captured, self._calibration.start, batch, call=self._call)
            for batch in self._calibration.batches
        ]
        done, values = 0, []
        for node in self._nodes:
            if node in self._plan.fits and self._parents is not None:
                self._fit(self._plan.fits[node], self._parents)
                done += 1
                progress("refit", done, len(self._plan.fits))
            if node in self._plan.norms:
                self._normalise(self._plan.norms[node])
            values = [next(run)[1] for run in runs]
            if node in self._readers:
                self._values[node] = values
            for kept in [n for n in self._values if self._readers[n] is node]:
                del self._values[kept]
        layers = tuple(self._layers[node] for node in self._nodes if node in self._layers)
        wanted = [] if self._parents is None else self._parents.outputs()
        return Walked(self._state, layers, [value[0] for value in values], wanted)

    def _call(self, node: fx.Node, known: Mapping[fx.Node, Any]) -> Any:
        changed = {n: self._changed[n] for n in node.all_input_nodes if n in self._changed}
        values = {**known, **changed} if changed else known
        return called(node, values, None, self._calibration.device)

    def _parameters(self) -> list[tuple[fx.Node, str]]:
        names = self._plan.captured.parameters
        return [(n, names[n.name]) for n in self._nodes if n.name in names]

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

    def _fit(self, fit: Fit, parents: Parents) -> None:
        """Solve for the product's weight and bias, and go on with these."""
        product, intercept = fit.product, fit.chain.intercept
        layer = _Rows(fit, parents, self._calibration, self._settings, self._values)
        average = self._average(fit, layer.shares)
        start = layer.reduced(average)
        most = reduce(add, [layer.sums(part) for part in self._split.fitted])
        judge = layer.sums(self._split.judging)
        whole = most + judge
        if not torch.isfinite(whole.gram).all() or not torch.isfinite(whole.cross).all():
            raise MergeError(
                f"the input or the output of the layer of '{product.name}' is not finite on the "
                "calibration data. Check the weights and the data for NaN and infinity."
            )
        ridge = self._settings.ridge
        if ridge == "auto":
            ridge = best_ridge(most, judge, start, intercept)
        rounds = self._rounds if fit.chain.relu and self._settings.inputs == "merge" else 0
        if rounds:
            rows = layer.relu((*self._split.fitted, self._split.judging))
            solution = relu_rounds(rows, whole, start, ridge, intercept, rounds)
        else:
            solution = solved(whole, start, ridge, intercept)
        before, after = averaged(most, start, intercept), solved(most, start, ridge, intercept)
        variance = layer.variance(self._split.judging)
        self._layers[product.node] = RefitLayer(
            name=product.name,
            ridge=ridge,
            rows=int(whole.count),
            error_before=unexplained(before, judge, variance),
            error_after=unexplained(after, judge, variance),
            relu_rounds=rounds,
        )
        self._put(fit, layer.expanded(solution))

    def _average(self, fit: Fit, shares: Sequence[Tensor]) -> Tensor:
        """The average as a matrix: behind the normalisation or scale that is fitted with it."""
        product, norm, scale = fit.product, fit.chain.norm, fit.chain.scale
        total = torch.zeros(product.size, dtype=torch.float64, device=self._calibration.device)
        for state, share in zip(self._calibration.parents, shares, strict=True):
            factor = share.double()
            if norm is not None:
                std = (state[norm.variance].double() + norm.eps).sqrt()
                factor = factor * (state[str(norm.scale)].double() / std).reshape(factor.shape)
            if scale is not None:
                factor = factor * state[scale].double().reshape(factor.shape)
            total += factor[:, None, :] * product.matrix(state[product.name]).double()
        return total

    def _put(self, fit: Fit, solution: Solution) -> None:
        product, chain = fit.product, fit.chain
        if chain.scale is not None:
            solution = self._before_scale(fit, chain.scale, solution)
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

    def _before_scale(self, fit: Fit, scale: str, solution: Solution) -> Solution:
        """The solution in front of a layer scale, which stays as it is.

        Where the merge's own scale is almost nothing beside the parents' (of opposite signs), the
        weight has no hold on what comes behind it, and stays averaged.
        """
        shape = solution.intercept.shape
        merged = self._state[scale].double().reshape(shape)
        parents = [state[scale].double().reshape(shape) for state in self._calibration.parents]
        held = merged.abs() > _FAINT * torch.stack(parents).abs().amax(0)
        factor = torch.where(held, merged, 1.0)
        bias = torch.zeros_like(merged)
        if fit.chain.bias is not None:
            bias = self._state[fit.chain.bias].double().reshape(shape)
        weight = fit.product.matrix(self._state[fit.product.name]).double()
        matrix = torch.where(held[:, None, :], solution.matrix / factor[:, None, :], weight)
        return Solution(matrix, torch.where(held, solution.intercept / factor, bias))

    def _normalise(self, norm: Norm) -> None:
        """Reset statistics; with an intercept to take up, leave its input but for that."""
        seen = [self._seen(x, n) for n, x in enumerate(self._values[norm.source])]
        moments = [UnitMoments.of(x, 1) for x in seen if len(x)]
        fresh = reset_norm(norm, self._state, reduce(add, moments))
        for name, value in fresh.items():
            self._store(name, value)
        intercept = self._intercepts.pop(norm.node, None)
        if intercept is not None and norm.scale is not None and norm.shift is not None:
            std = (fresh[norm.variance].double() + norm.eps).sqrt()
            shift = fresh[norm.mean].double() + intercept
            for name, values in ((norm.scale, std), (norm.shift, shift)):
                self._store(name, values.to(self._state[name]))

    def _seen(self, value: Tensor, batch: int) -> Tensor:
        """The rows of a value that are not held out."""
        rows = self._calibration.rows
        if len(value) != rows:
            return value
        return value[self._split.seen(torch.arange(rows) + rows * batch).to(value.device)]

    def _store(self, name: str, value: Tensor) -> None:
        for alias in aliases_of(self._plan.captured, self._state, name):
            self._state[alias] = value
            if alias in self._stored:
                self._changed[self._stored[alias]] = value


class _Rows:
    """Rows and targets of one layer, of all batches."""

    def __init__(
        self,
        fit: Fit,
        parents: Parents,
        calibration: Calibration,
        settings: RefitSettings,
        values: Mapping[fx.Node, Sequence[Any]],
    ) -> None:
        self._fit, self._parents, self._values = fit, parents, values
        self._weights, self._own = calibration.shares, settings.inputs == "own"
        self._plain = settings.inputs == "merge"
        self._batches = range(len(calibration.batches))
        self._read = parents.read(fit)
        self.shares = self._unit_shares()
        self._average: Tensor | None = None
        self._basis: Tensor | None = None

    def reduced(self, average: Tensor) -> Tensor:
        """What a fit starts from (g, i, o): the average, or zero in a space of less inputs.

        With far fewer rows than inputs a fit moves the average within the space of the rows alone.
        It is solved there, in coordinates of an orthonormal basis: the same solution, sooner.
        """
        keys = list(self._read.targets)
        count = sum(len(self._read.targets[key][0]) for key in keys)
        if self._plain and count * _FEWER <= average.shape[1]:
            rows = torch.cat([self._inputs(*key) for key in keys]).double().transpose(0, 1)
            self._average, self._basis = average, torch.linalg.qr(rows.mT)[0]
            return average.new_zeros(len(average), self._basis.shape[2], average.shape[2])
        return average

    def expanded(self, solution: Solution) -> Solution:
        """A solution for the inputs as they are."""
        if self._average is None or self._basis is None:
            return solution
        return Solution(self._average + self._basis @ solution.matrix, solution.intercept)

    def variance(self, part: str) -> float:
        """The sum of the targets' squared deviations from their means."""
        targets = [self._targets(part, batch) for batch in self._batches]
        together = torch.cat(targets).double()
        return float((together - together.mean(0)).square().sum()) if len(together) else 0.0

    def _unit_shares(self) -> list[Tensor]:
        """The parents' weights for each output (g, o).

        A unit that is zero on all rows is none of that parent's (it has fewer, and was padded): the
        mean is over the others.
        """
        targets = list(zip(*self._read.targets.values(), strict=True))
        dtype = targets[0][0].dtype
        live = [torch.stack([y.ne(0).any(0) for y in of_one]).any(0) for of_one in targets]
        total = sum(w * units.double() for w, units in zip(self._weights, live, strict=True))
        assert isinstance(total, Tensor)  # there is a parent
        missing = total.abs() < _NOTHING
        return [
            torch.where(missing, w, w * units / torch.where(missing, 1.0, total)).to(dtype)
            for w, units in zip(self._weights, live, strict=True)
        ]

    def sums(self, part: str) -> Sums:
        """Sums over the rows of a part."""
        sums = []
        for batch in self._batches:
            targets = self._read.targets[part, batch]
            inputs = self._read.inputs[part, batch]
            if self._own:
                of_each = zip(inputs, targets, self._weights, strict=True)
                sums += [Sums.of(x, y, share) for x, y, share in of_each]
                continue
            rows = mean_of(inputs, self._weights) if inputs else self._inputs(part, batch)
            sums.append(self._sums(rows, self._targets(part, batch)))
        return reduce(add, sums)

    def _sums(self, rows: Tensor, targets: Tensor) -> Sums:
        if self._average is None or self._basis is None:
            return Sums.of(rows, targets)
        x, y = rows.double().transpose(0, 1), targets.double().transpose(0, 1)
        moved = (x @ self._basis).transpose(0, 1), (y - x @ self._average).transpose(0, 1)
        return Sums.of(*moved, width=rows.shape[2])

    def _targets(self, part: str, batch: int) -> Tensor:
        """The mean of the parents' values, without the other term of the sum."""
        mean = mean_of(self._read.targets[part, batch], self.shares)
        return mean - self._other(part, batch)

    def relu(self, parts: Sequence[str]) -> ReluRows:
        """The rows of some parts, with what is wanted behind the ReLU."""
        keys = [(part, batch) for part in parts for batch in self._batches]
        behind = [
            mean_of([y.clamp(min=0) for y in self._read.targets[key]], self.shares) for key in keys
        ]
        inputs, other = [self._inputs(*key) for key in keys], [self._other(*key) for key in keys]
        rows, others = torch.cat(inputs), torch.cat(other)
        if self._average is not None and self._basis is not None:
            x = rows.double().transpose(0, 1)
            others = others + (x @ self._average).transpose(0, 1).to(others)
            rows = (x @ self._basis).transpose(0, 1).to(rows)
        return ReluRows(rows, others, torch.cat(behind))

    def _inputs(self, part: str, batch: int) -> Tensor:
        samples = self._parents.samples(self._fit, part, batch)
        return self._fit.product.rows(self._values[self._fit.product.input][batch], samples)

    def _other(self, part: str, batch: int) -> Tensor:
        """The other term of the sum that the targets are; zero without one."""
        samples, other = self._parents.samples(self._fit, part, batch), self._fit.chain.other
        if other is None:
            return torch.zeros_like(self._read.targets[part, batch][0])
        return self._fit.outputs(self._values[other][batch], samples)
