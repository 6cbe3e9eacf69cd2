"""Give units wanted means and deviations, layer by layer, in one pass over a captured graph.

A unit's row of the weight is scaled and its bias scaled and shifted, each layer measured behind the
corrections before it. Running statistics of batch normalisations are set to those of their inputs
on the way.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.errors import MergeError
from zooalign.graph.capture import Capture
from zooalign.graph.execute import steps
from zooalign.merging.layers import Layer, packet
from zooalign.merging.statistics import UnitMoments

__all__ = ["Norm", "Target", "find_norms", "unit_moments", "with_statistics"]

State = Mapping[str, Tensor]

# A deviation below this fraction of the layer's largest, or of the unit's mean, is rounding.
_DEAD = 1e-6
# Corrections below this are rounding of the statistics, not a difference.
_NOTHING = 1e-9
_ARGUMENTS = (
    *("input", "weight", "bias", "running_mean", "running_var"),
    *("training", "momentum", "eps"),
)


@dataclass(frozen=True)
class Norm:
    """A batch normalisation whose running statistics are in the state dict and used once.

    ``source`` is the node whose value it normalises, over all axes but the second; ``mean`` and
    ``variance`` are the statistics' names, ``scale`` and ``shift`` those of weight and bias.
    """

    node: fx.Node
    source: fx.Node
    mean: str
    variance: str
    scale: str | None
    shift: str | None
    eps: float


@dataclass(frozen=True)
class Target:
    """Wanted mean and deviation of each unit of a layer, float64 on the CPU."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class _Correction:
    """``scale * output + shift`` per unit, float64 on the CPU."""

    scale: Tensor
    shift: Tensor
    dead: int


def unit_moments(
    captured: Capture, parent: State, inputs: Sequence[tuple[Any, ...]], layers: Sequence[Layer]
) -> dict[fx.Node, UnitMoments]:
    """UnitMoments of each layer's units in one network, over all batches."""
    by_node = {layer.node: layer for layer in layers}
    tensors = dict(parent.items())  # read once, not once a batch
    by_layer: dict[fx.Node, UnitMoments] = {}
    for batch in inputs:
        for node, value in steps(captured, tensors, batch):
            if node in by_node:
                moments = UnitMoments.of(by_node[node].rows(value), 0)
                by_layer[node] = by_layer[node] + moments if node in by_layer else moments
    return by_layer


def with_statistics(
    captured: Capture,
    state: State,
    inputs: Sequence[tuple[Any, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    wanted: Mapping[fx.Node, Target],
) -> tuple[dict[str, Tensor], int]:
    """A new state dict whose units have the wanted statistics, and how many do not vary.

    Running statistics of ``norms`` are set to those of their inputs on the way.
    """
    result = dict(state.items())
    with torch.no_grad():
        corrections, statistics = _corrections(captured, state, inputs, layers, norms, wanted)
        for name, value in statistics.items():
            _replace(captured, result, name, _always(value))
        for layer, correction in corrections.items():
            _apply(captured, result, layer, correction)
    return result, sum(correction.dead for correction in corrections.values())


def _corrections(
    captured: Capture,
    state: State,
    inputs: Sequence[tuple[Any, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    wanted: Mapping[fx.Node, Target],
) -> tuple[dict[Layer, _Correction], dict[str, Tensor]]:
    """What each layer is multiplied by, and new running statistics by name.

    Outputs are changed in place, so that the runs go on with them. That is safe for the operators
    of a layer and for normalisations: their output is a new tensor that no node has read yet.
    """
    by_node = {layer.node: layer for layer in layers}
    by_norm = {norm.node: norm for norm in norms}
    sources = {norm.source for norm in norms}
    seen: dict[fx.Node, UnitMoments] = {}
    corrections: dict[Layer, _Correction] = {}
    statistics: dict[str, Tensor] = {}
    runs = [steps(captured, state, batch) for batch in inputs]
    for current in zip(*runs, strict=True):
        node, outputs = current[0][0], [output for _, output in current]
        if node in by_node:
            layer = by_node[node]
            measured = _measured([layer.rows(output) for output in outputs], 0)
            corrections[layer] = _correction(layer, measured, wanted[node])
            for output in outputs:
                layer.corrected(output, corrections[layer].scale, corrections[layer].shift)
        if node in by_norm:
            norm = by_norm[node]
            new = _reset_norm(norm, state, seen[norm.source])
            _normalised_anew(norm, state, new, outputs)
            statistics |= new
        if node in sources:
            seen[node] = _measured(outputs, 1)
    return corrections, statistics


def _measured(outputs: Sequence[Tensor], axis: int) -> UnitMoments:
    return reduce(operator.add, [UnitMoments.of(output, axis) for output in outputs])


def _correction(layer: Layer, measured: UnitMoments, wanted: Target) -> _Correction:
    mean, std = wanted.mean, wanted.std
    for values in (mean, std, measured.mean, measured.std):
        if not torch.isfinite(values).all():
            raise MergeError(
                f"the output of the layer of '{layer.weight}' is not finite on the calibration "
                "data. Check the weights and the data for NaN and infinity."
            )
    floor = _DEAD * torch.maximum(measured.std.max(), measured.mean.abs())
    dead = measured.std <= floor
    scale = std / torch.where(dead, torch.ones_like(std), measured.std)
    shift = mean - scale * measured.mean
    if layer.bias is None:
        shift = torch.zeros_like(shift)
    same = ((scale - 1).abs() <= _NOTHING) & (shift.abs() <= _NOTHING * measured.std)
    keep = dead | same
    return _Correction(
        torch.where(keep, torch.ones_like(scale), scale),
        torch.where(keep, torch.zeros_like(shift), shift),
        int(dead.sum()),
    )


def _apply(
    captured: Capture, state: dict[str, Tensor], layer: Layer, correction: _Correction
) -> None:
    scale, shift = correction.scale, correction.shift
    _replace(captured, state, layer.weight, lambda weight: layer.scaled(weight, scale))
    if layer.bias is not None:
        _replace(captured, state, layer.bias, lambda bias: layer.moved(bias, scale, shift))


def _replace(
    captured: Capture, state: dict[str, Tensor], name: str, change: Callable[[Tensor], Tensor]
) -> None:
    root = captured.tied.get(name, name)
    aliases = [root, *(n for n, first in captured.tied.items() if first == root)]
    for alias in aliases:
        if alias in state:
            state[alias] = change(state[alias].detach().cpu().double()).to(state[alias])


def _always(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: value


def find_norms(captured: Capture) -> tuple[tuple[Norm, ...], tuple[tuple[str, str], ...]]:
    """Normalisations in graph order, and (running mean, reason) of those that cannot be reset."""
    norms: list[Norm] = []
    for node in captured.graph.nodes:
        if packet(node) != "aten.batch_norm":
            continue
        given: dict[str, Any] = {**dict(zip(_ARGUMENTS, node.args, strict=False)), **node.kwargs}
        stored = {name: _stored(captured, given.get(name)) for name in _ARGUMENTS[1:5]}
        source, mean, variance = given["input"], stored["running_mean"], stored["running_var"]
        if mean is None or variance is None or not isinstance(source, fx.Node):
            continue
        norms.append(
            Norm(node, source, mean, variance, stored["weight"], stored["bias"], given["eps"])
        )
    counts: dict[str, int] = {}
    for norm in norms:
        counts[norm.mean] = counts.get(norm.mean, 0) + 1
    kept = tuple(norm for norm in norms if counts[norm.mean] == 1)
    several = {norm.mean: "it is used more than once" for norm in norms if counts[norm.mean] > 1}
    return kept, tuple(several.items())


def _reset_norm(
    norm: Norm, state: Mapping[str, Tensor], measured: UnitMoments
) -> dict[str, Tensor]:
    """The running statistics of its input: the mean and torch's unbiased variance."""
    if measured.count < 2:
        raise MergeError(f"'{norm.mean}' sees one value a channel: use more calibration data")
    mean, variance = measured.mean, measured.variance(correction=1)
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        raise MergeError(
            f"the input of the normalisation of '{norm.mean}' is not finite on the calibration "
            "data. Check the weights and the data for NaN and infinity."
        )
    return {
        norm.mean: mean.to(state[norm.mean]),
        norm.variance: variance.to(state[norm.variance]),
    }


def _normalised_anew(
    norm: Norm, old: Mapping[str, Tensor], new: Mapping[str, Tensor], outputs: Sequence[Tensor]
) -> None:
    """Change outputs by old statistics into those by new ones, in place."""

    def spread(state: Mapping[str, Tensor]) -> Tensor:
        return (state[norm.variance].detach().cpu().double() + norm.eps).sqrt()

    def mean(state: Mapping[str, Tensor]) -> Tensor:
        return state[norm.mean].detach().cpu().double()

    size = mean(old).shape
    gamma = old[norm.scale].detach().cpu().double() if norm.scale else torch.ones(size).double()
    beta = old[norm.shift].detach().cpu().double() if norm.shift else torch.zeros(size).double()
    scale = spread(old) / spread(new)
    shift = beta - scale * beta + gamma * (mean(old) - mean(new)) / spread(new)
    for output in outputs:
        shape = [-1] + [1] * (output.dim() - 2)
        output.mul_(scale.to(output).view(shape)).add_(shift.to(output).view(shape))


def _stored(captured: Capture, value: Any) -> str | None:
    name = captured.parameters.get(value.name) if isinstance(value, fx.Node) else None
    return None if name is None else captured.tied.get(name, name)
