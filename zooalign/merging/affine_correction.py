"""Give units wanted means and deviations, layer by layer, in one pass over a captured graph.

A unit's row of the weight is scaled and its bias scaled and shifted, each layer measured behind the
corrections before it. Running statistics of batch normalisations are set to those of their inputs
on the way.
"""

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, fx

from zooalign.errors import MergeError
from zooalign.graph.capture import Capture
from zooalign.graph.execute import steps
from zooalign.graph.lazy_state import State
from zooalign.merging.layers import Layer, packet
from zooalign.merging.statistics import UnitMoments

__all__ = [
    "Norm",
    "Target",
    "aliases_of",
    "find_norms",
    "reset_norm",
    "unit_moments",
    "with_statistics",
]


# A deviation below this fraction of the layer's largest, or of the unit's mean, is rounding.
_DEAD = 1e-6
# Corrections below this are rounding of the statistics, not a difference.
_NOTHING = 1e-9
# Of torch.batch_norm.
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
    """The mean and deviation that each unit of a layer is to have, float64 on the CPU."""

    mean: Tensor
    std: Tensor


class _Correction(NamedTuple):
    """``scale * output + shift`` per unit, float64 on the CPU."""

    scale: Tensor
    shift: Tensor
    dead: int


def unit_moments(
    captured: Capture, parent: State, inputs: Sequence[tuple[object, ...]], layers: Sequence[Layer]
) -> dict[fx.Node, UnitMoments]:
    """The moments of each layer's units in one network, over all batches."""
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
    inputs: Sequence[tuple[object, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    targets: Mapping[fx.Node, Target],
) -> tuple[dict[str, Tensor], int]:
    """A new state dict whose units have the wanted statistics, and how many do not vary.

    Running statistics of ``norms`` are set to those of their inputs on the way.
    """
    result = dict(state.items())
    with torch.no_grad():
        corrections, statistics = _corrections(captured, state, inputs, layers, norms, targets)
        for name, value in statistics.items():
            for alias in aliases_of(captured, result, name):
                result[alias] = value.to(result[alias])
        for layer, (scale, shift, _) in corrections.items():
            for alias in aliases_of(captured, result, layer.weight):
                weight = result[alias]
                result[alias] = layer.scaled(_precise(weight), scale).to(weight)
            for alias in aliases_of(captured, result, layer.bias):
                bias = result[alias]
                result[alias] = layer.moved(_precise(bias), scale, shift).to(bias)
    return result, sum(correction.dead for correction in corrections.values())


def _corrections(
    captured: Capture,
    state: State,
    inputs: Sequence[tuple[object, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    targets: Mapping[fx.Node, Target],
) -> tuple[dict[Layer, _Correction], dict[str, Tensor]]:
    """What each layer is multiplied by, and new running statistics by name.

    Outputs are changed in place, so that the runs go on with them. That is safe for the operators
    of a layer and for normalisations: their output is a new tensor that no node has read yet.
    """
    by_node = {layer.node: layer for layer in layers}
    by_norm = {norm.node: norm for norm in norms}
    sources = {norm.source for norm in norms}
    moments_at: dict[fx.Node, UnitMoments] = {}
    corrections: dict[Layer, _Correction] = {}
    statistics: dict[str, Tensor] = {}
    runs = [steps(captured, state, batch) for batch in inputs]
    for current in zip(*runs, strict=True):
        node, outputs = current[0][0], [output for _, output in current]
        if node in by_node:
            layer = by_node[node]
            measured = _measured([layer.rows(output) for output in outputs], 0)
            corrections[layer] = _correction(layer, measured, targets[node])
            for output in outputs:
                layer.corrected(output, corrections[layer].scale, corrections[layer].shift)
        if node in by_norm:
            norm = by_norm[node]
            new = reset_norm(norm, state, moments_at[norm.source])
            _normalised_anew(norm, state, new, outputs)
            statistics |= new
        if node in sources:
            moments_at[node] = _measured(outputs, 1)
    return corrections, statistics


def _measured(outputs: Sequence[Tensor], axis: int) -> UnitMoments:
    return reduce(operator.add, [UnitMoments.of(output, axis) for output in outputs])


def _correction(layer: Layer, measured: UnitMoments, target: Target) -> _Correction:
    mean, std = target.mean, target.std
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


def aliases_of(captured: Capture, state: State, name: str | None) -> list[str]:
    """The names that a tensor has in the state dict; none without a tensor."""
    if name is None:
        return []
    root = captured.tied.get(name, name)
    aliases = [root, *(n for n, first in captured.tied.items() if first == root)]
    return [alias for alias in aliases if alias in state]


def _precise(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def find_norms(captured: Capture) -> tuple[tuple[Norm, ...], tuple[tuple[str, str], ...]]:
    """Normalisations in graph order, and (running mean, reason) of those that cannot be reset."""
    norms: list[Norm] = []
    for node in captured.graph.nodes:
        if packet(node) != "aten.batch_norm":
            continue
        given = {**dict(zip(_ARGUMENTS, node.args, strict=False)), **node.kwargs}
        scale, shift, mean, variance = (_stored(captured, given.get(n)) for n in _ARGUMENTS[1:5])
        source = given["input"]
        if mean is not None and variance is not None and isinstance(source, fx.Node):
            norms.append(Norm(node, source, mean, variance, scale, shift, given["eps"]))
    counts = Counter(norm.mean for norm in norms)
    kept = tuple(norm for norm in norms if counts[norm.mean] == 1)
    several = {norm.mean: "it is used more than once" for norm in norms if counts[norm.mean] > 1}
    return kept, tuple(several.items())


def reset_norm(norm: Norm, state: State, measured: UnitMoments) -> dict[str, Tensor]:
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


def _normalised_anew(norm: Norm, old: State, new: State, outputs: Sequence[Tensor]) -> None:
    """Change outputs by old statistics into those by new ones, in place."""
    means = [_precise(state[norm.mean]) for state in (old, new)]
    stds = [(_precise(state[norm.variance]) + norm.eps).sqrt() for state in (old, new)]
    gamma = _precise(old[norm.scale]) if norm.scale else torch.ones_like(means[0])
    beta = _precise(old[norm.shift]) if norm.shift else torch.zeros_like(means[0])
    scale = stds[0] / stds[1]
    shift = beta - scale * beta + gamma * (means[0] - means[1]) / stds[1]
    for output in outputs:
        shape = [-1] + [1] * (output.dim() - 2)
        output.mul_(scale.to(output).view(shape)).add_(shift.to(output).view(shape))


def _stored(captured: Capture, value: object) -> str | None:
    name = captured.parameters.get(value.name) if isinstance(value, fx.Node) else None
    return None if name is None else captured.tied.get(name, name)
