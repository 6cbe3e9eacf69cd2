"""Bring the units of a network to wanted means and deviations, layer by layer, in one pass."""

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
from zooalign.merging.layers import Layer
from zooalign.merging.moments import Moments
from zooalign.merging.norms import Norm, normalised_anew, reset_norm

__all__ = ["Target", "brought_to", "unit_moments"]

State = Mapping[str, Tensor]

# A deviation below this fraction of the layer's largest, or of the unit's mean, is rounding.
_DEAD = 1e-6
# Corrections below this are rounding of the statistics, not a difference.
_NOTHING = 1e-9


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
) -> dict[fx.Node, Moments]:
    """Moments of each layer's units in one network, over all batches."""
    by_node = {layer.node: layer for layer in layers}
    tensors = dict(parent.items())  # read once, not once a batch
    found: dict[fx.Node, Moments] = {}
    for batch in inputs:
        for node, value in steps(captured, tensors, batch):
            if node in by_node:
                moments = Moments.of(by_node[node].rows(value), 0)
                found[node] = found[node] + moments if node in found else moments
    return found


def brought_to(
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
    seen: dict[fx.Node, Moments] = {}
    found: dict[Layer, _Correction] = {}
    statistics: dict[str, Tensor] = {}
    runs = [steps(captured, state, batch) for batch in inputs]
    for current in zip(*runs, strict=True):
        node, outputs = current[0][0], [output for _, output in current]
        if node in by_node:
            layer = by_node[node]
            measured = _measured([layer.rows(output) for output in outputs], 0)
            found[layer] = _correction(layer, measured, wanted[node])
            for output in outputs:
                layer.corrected(output, found[layer].scale, found[layer].shift)
        if node in by_norm:
            norm = by_norm[node]
            new = reset_norm(norm, state, seen[norm.source])
            normalised_anew(norm, state, new, outputs)
            statistics |= new
        if node in sources:
            seen[node] = _measured(outputs, 1)
    return found, statistics


def _measured(outputs: Sequence[Tensor], axis: int) -> Moments:
    return reduce(operator.add, [Moments.of(output, axis) for output in outputs])


def _correction(layer: Layer, measured: Moments, wanted: Target) -> _Correction:
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
