"""Feature steps: gradient descent that pulls a merge's activations to its parents' mean.

The loss is the squared difference at some places of the graph, each as a share of its variance
there, and the Kullback-Leibler divergence from the softmax of the parents' mean logits. No label
is needed. Batch normalisations use the statistics of the batch, which are reset at each check.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from zooalign.errors import DataError, MergeError
from zooalign.graph.execute import called, steps
from zooalign.graph.lazy_state import State
from zooalign.merging.layers import packet
from zooalign.merging.refit.agreement import class_axis, divergence, kullback_leibler
from zooalign.merging.refit.chain import shape_of
from zooalign.merging.refit.plan import Plan
from zooalign.merging.refit.report import RefitSettings
from zooalign.merging.refit.samples import Split
from zooalign.merging.refit.targets import Calibration, mean_of
from zooalign.merging.refit.walk import Walk
from zooalign.progress import Progress

__all__ = ["Features", "Trained", "places_of"]

_ACTIVATIONS = {
    f"aten.{name}{inplace}"
    for name in ("relu", "gelu", "silu", "hardswish", "leaky_relu", "elu", "tanh", "hardtanh")
    for inplace in ("", "_")
}
# Of Adam; its share in each step is warmed up and then a cosine.
_RATE = 1e-3
_WARM_UP = 10
# How often a state is looked at on held-out rows.
_CHECKS = 8


def places_of(plan: Plan, rows: int) -> list[fx.Node]:
    """Where activations are pulled, in graph order: those with an axis for the batch.

    Sums of a residual stream, behind an activation function if one alone reads them, and the first
    activation; without a stream every activation.
    """
    nodes = list(plan.captured.graph.nodes)
    activations = [n for n in nodes if packet(n) in _ACTIVATIONS]
    places = list(activations)
    sums = [n for n in nodes if _is_sum(n)]
    if sums:
        places = activations[:1]
        for node in sums:
            user = next(iter(node.users), node)
            behind = len(node.users) == 1 and packet(user) in _ACTIVATIONS
            places.append(user if behind else node)
    return [n for n in dict.fromkeys(places) if n.meta["val"].shape[:1] == (rows,)]


def _is_sum(node: fx.Node) -> bool:
    """Whether a node adds two activations of one shape."""
    if packet(node) not in ("aten.add", "aten.add_"):
        return False
    terms = node.all_input_nodes
    shapes = {shape_of(n) for n in [*terms, node]}
    return len(terms) == 2 and len(shapes) == 1 and all(n.op == "call_function" for n in terms)


@dataclass(frozen=True, eq=False)
class Trained:
    """A state dict, its statistics reset, and what it returns by batch."""

    state: dict[str, Tensor]
    outputs: list[Tensor]


@dataclass(frozen=True, eq=False)
class _Wanted:
    """The mean of what the parents compute for each row: at places, and their output."""

    places: Mapping[fx.Node, Tensor]
    variance: Mapping[fx.Node, float]
    outputs: Tensor


def _wanted(plan: Plan, calibration: Calibration, memory: int) -> _Wanted:
    """What is pulled to: the last places, as many as fit into the memory."""
    left, places = memory, []
    for node in reversed(places_of(plan, calibration.rows)):
        left -= node.meta["val"].numel() * 4 * len(calibration.batches)
        if left < 0:
            break
        places.append(node)
    parts: dict[fx.Node, list[Tensor]] = {node: [] for node in places}
    outputs: list[Tensor] = []
    for batch in calibration.batches:
        runs = [steps(plan.captured, parent, batch) for parent in calibration.parents]
        for current in zip(*runs, strict=True):
            node = current[0][0]
            if node in parts:
                parts[node].append(mean_of([value for _, value in current], calibration.shares))
            if node.op == "output":
                firsts = [value[0] for _, value in current]
                outputs.append(mean_of(firsts, calibration.shares))
    joined = {node: torch.cat(values) for node, values in parts.items()}
    variance = {node: max(float(values.var()), 1e-12) for node, values in joined.items()}
    return _Wanted(joined, variance, torch.cat(outputs))


def _joined(calibration: Calibration) -> list[object]:
    """Each input, its rows of all batches in one tensor."""
    joined: list[object] = []
    for values in zip(*calibration.batches, strict=True):
        tensors = [x for x in values if isinstance(x, Tensor)]
        if not tensors:
            joined.append(values[0])
            continue
        if any(x.shape[:1] != (calibration.rows,) for x in tensors):
            raise MergeError(
                "feature steps mix the rows of batches, and an input of the calibration data has "
                "no first axis for them: use method='least-squares'"
            )
        joined.append(torch.cat(tensors))
    return joined


class Features:
    """Feature steps of one merge beside its parents."""

    def __init__(
        self, plan: Plan, calibration: Calibration, settings: RefitSettings, split: Split
    ) -> None:
        self._plan = replace(plan, fits={})
        self._calibration, self._settings, self._split = calibration, settings, split
        rows = calibration.rows
        self._inputs = _joined(calibration)
        everything = torch.arange(rows * len(calibration.batches))
        self._rows = everything[split.seen(everything)]
        self._waiting = self._rows[:0]
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._wanted = _wanted(plan, calibration, settings.memory)
        self._labels = calibration.labels if settings.labels else None
        if settings.labels and self._labels is None:
            raise DataError("feature steps with labels need batches (inputs, targets)")

    def trained(
        self, start: State, only: Callable[[str], bool] | None, progress: Progress
    ) -> Trained | None:
        """The best of the states on the held-out rows; None if that is the start."""
        state, leaves = self._leaves(start, only)
        count = self._settings.steps
        if not leaves or not count:
            return None
        optimizer = torch.optim.Adam(leaves, _RATE)
        best, least = None, self._checked(start)[1]
        for number in range(count):
            for group in optimizer.param_groups:
                group["lr"] = _RATE * _schedule(number, count)
            optimizer.zero_grad()
            with torch.enable_grad():
                self._loss(state).backward()
            optimizer.step()
            progress("feature steps", number + 1, count)
            if (number + 1) % max(1, count // _CHECKS) == 0 or number + 1 == count:
                checked, apart = self._checked(state)
                if apart < least:
                    best, least = checked, apart
        return best

    def _leaves(
        self, start: State, only: Callable[[str], bool] | None
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The state with new leaves for what is trained, tied names one tensor; and the leaves."""
        captured = self._plan.captured
        leaves: dict[str, Tensor] = {}
        state = dict(start)
        for name in captured.trainable:
            if name in state and state[name].is_floating_point() and (only is None or only(name)):
                first = captured.tied.get(name, name)
                leaf = leaves.setdefault(first, state[name].detach().clone().requires_grad_())
                state[name] = leaf
        return state, list(leaves.values())

    def _loss(self, state: State) -> Tensor:
        """The loss on a batch of rows drawn without replacement."""
        size = self._calibration.rows
        if len(self._waiting) < size:
            order = torch.randperm(len(self._rows), generator=self._generator)
            self._waiting = self._rows[order].repeat(math.ceil(size / len(order)))
        rows, self._waiting = self._waiting[:size], self._waiting[size:]
        inputs = tuple(x[rows.to(x.device)] if isinstance(x, Tensor) else x for x in self._inputs)
        wanted, terms = self._wanted, []
        for node, value in steps(self._plan.captured, state, inputs, call=self._call):
            if node in wanted.places:
                target = wanted.places[node][rows.to(value.device)]
                terms.append((value - target).square().mean() / wanted.variance[node])
            if node.op == "output":
                value, target = value[0], wanted.outputs[rows.to(wanted.outputs.device)]
                axis = class_axis(value)
                if axis is None:
                    terms.append((value - target).square().mean() / target.var().clamp(min=1e-30))
                else:
                    terms.append(kullback_leibler(value, target, axis))
                if self._labels is not None:
                    terms.append(F.cross_entropy(value, self._labels[rows.to(value.device)]))
        return torch.stack(terms).sum()

    def _call(self, node: fx.Node, known: Mapping[fx.Node, Any]) -> Any:
        """An operator with gradients; a batch normalisation by the statistics of the batch."""
        norm = self._plan.norms.get(node)
        if norm is None:
            return called(node, known, None, self._calibration.device, gradients=True)
        scale, shift = (known[n] if isinstance(n, fx.Node) else None for n in node.args[1:3])
        x = known[norm.source]
        return F.batch_norm(x, None, None, scale, shift, training=True, eps=norm.eps)

    def _checked(self, state: State) -> tuple[Trained, float]:
        """A state with its statistics reset, and its divergence on the held-out rows."""
        fixed = {name: tensor.detach().clone() for name, tensor in state.items()}
        walk = Walk(self._plan, replace(self._calibration, start=fixed), self._settings)
        walked = walk.run(self._split)
        wanted = self._wanted.outputs.split(self._calibration.rows)
        apart = divergence(walked.outputs, wanted, self._split, self._calibration.rows)
        return Trained(walked.state, walked.outputs), apart


def _schedule(number: int, count: int) -> float:
    """The learning rate's share: warmed up, then a cosine down to zero."""
    return min(1.0, (number + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * number / count))
