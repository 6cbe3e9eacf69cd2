"""REPAIR: give the units of a merged network the activation statistics of its parents.

Averaging weights shrinks the variance of hidden units, layer after layer. REPAIR (Jordan et al.
2211.08403) sets the mean and the standard deviation of every unit's preactivation to the
average of its parents'. Where the paper inserts and resets BatchNorm layers, here the weights
take up the change in closed form: with measured mean m and deviation s, and wanted m* and s*,
the unit's row is multiplied by s*/s and its bias b becomes (b - m) s*/s + m*. Where a network has
BatchNorm layers of its own, their running statistics are reset on the way, wherever they stand.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import Capture
from zooalign.graph.execute import steps
from zooalign.merging.interpolate import normalised
from zooalign.merging.layers import Layer, find_layers
from zooalign.merging.moments import Moments
from zooalign.merging.norms import Norm, find_norms, normalised_anew, reset_norm

__all__ = ["RepairResult", "repair"]

State = Mapping[str, Tensor]

# A deviation below this fraction of the layer's largest, or of the unit's mean, is rounding.
_DEAD = 1e-6
# Corrections below this are rounding of the statistics, not a difference.
_NOTHING = 1e-9


@dataclass(frozen=True)
class RepairResult:
    """A repaired network.

    Attributes
    ----------
    state:
        The new state dict. Tensors that were not repaired are those given.
    repaired:
        Weights of the repaired layers, in graph order.
    scale_only:
        Those of them that have no bias: their deviations are repaired, their means are not.
    skipped:
        (weight or operator, reason) of the linear, convolution and matrix-product calls that
        were not repaired.
    dead_units:
        Units of repaired layers that were left as they are because they do not vary.
    reset:
        Names of the running means that were reset, with their variances.
    """

    state: dict[str, Tensor]
    repaired: tuple[str, ...]
    scale_only: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    dead_units: int
    reset: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Correction:
    """``scale * output + shift`` per unit, float64 on the CPU."""

    scale: Tensor
    shift: Tensor
    dead: int


def repair(
    captured: Capture,
    merged: State,
    parents: Sequence[State],
    weights: Sequence[float] | None,
    batches: Iterable[Any],
) -> RepairResult:
    """Set the mean and deviation of the merged network's units to the average of its parents'.

    Repaired are linear layers, convolutions, and matrix products and einsum with a weight as it
    is, whose weight and bias are parameters used once; but for the last layer and those a batch
    normalisation follows. It goes in the graph's order, each layer measured behind the corrections
    before it, so that on the calibration data all repaired units have the wanted statistics at
    once. A layer without a bias gets none; only its deviation is repaired. A unit that does not
    vary is left as it is.

    Running statistics of batch normalisations are set to those of their inputs in the same pass,
    over all batches together (what :func:`~zooalign.merging.reset_statistics` does layer by layer
    with each batch normalised by its own). A network whose every layer is followed by one is
    reset, no more. Layers a normalisation follows only behind an activation function, or behind
    the sum of a residual branch, are repaired, and the normalisation is reset behind them.

    All calibration batches run through the merged network side by side, node by node. So the
    memory taken is that of the tensors alive at one node, for all batches together, besides the
    merged network and one parent at a time. A few hundred examples are enough: the statistics
    are two numbers a unit.

    Parameters
    ----------
    captured:
        The architecture's graph.
    merged:
        The merged state dict; not changed. Its device decides; batches are moved to it.
    parents:
        The state dicts that were merged, aligned to each other.
    weights:
        Their weights in the merge, not negative; equal if None.
    batches:
        Calibration inputs of the captured shapes, targets not used. See
        :mod:`zooalign.graph.batches`.

    Returns
    -------
    The new state dict and what was repaired. Weights are computed in float64 and rounded once to
    their dtype. Parents equal to the merged network leave it as it is.

    Raises
    ------
    DataError
        If there is no batch, or one is of other shapes than captured.
    MergeError
        If weights are unusable, or an activation is not finite.
    SpecError
        If a state dict lacks what the graph reads.
    """
    shares = normalised(weights, len(parents))
    if min(shares) < 0:
        raise MergeError(f"REPAIR averages deviations and takes no negative weight: {weights}.")
    layers, skipped = find_layers(captured)
    norms, shared = find_norms(captured)
    skipped += shared
    state = dict(merged.items())
    inputs = _inputs(captured, state, batches)
    if not (layers or norms):
        return RepairResult(state, (), (), skipped, 0)
    with torch.no_grad():
        wanted = [_parent_moments(captured, parent, inputs, layers) for parent in parents]
        found = _corrections(captured, state, inputs, layers, norms, wanted, shares)
        corrections, statistics = found
        for name, value in statistics.items():
            _replace(captured, state, name, _always(value))
        for layer, correction in corrections.items():
            _apply(captured, state, layer, correction)
    return RepairResult(
        state,
        tuple(layer.weight for layer in layers),
        tuple(layer.weight for layer in layers if layer.bias is None),
        skipped,
        sum(correction.dead for correction in corrections.values()),
        tuple(norm.mean for norm in norms),
    )


def _parent_moments(
    captured: Capture, parent: State, inputs: Sequence[tuple[Any, ...]], layers: Sequence[Layer]
) -> dict[fx.Node, Moments]:
    by_node = {layer.node: layer for layer in layers}
    tensors = dict(parent.items())  # read once, not once a batch
    found: dict[fx.Node, Moments] = {}
    for batch in inputs:
        for node, value in steps(captured, tensors, batch):
            if node in by_node:
                moments = Moments.of(by_node[node].rows(value), 0)
                found[node] = found[node] + moments if node in found else moments
    return found


def _corrections(
    captured: Capture,
    state: State,
    inputs: Sequence[tuple[Any, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    wanted: Sequence[Mapping[fx.Node, Moments]],
    shares: Sequence[float],
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
            targets = [moments[node] for moments in wanted]
            found[layer] = _correction(layer, measured, targets, shares)
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


def _correction(
    layer: Layer, measured: Moments, targets: Sequence[Moments], shares: Sequence[float]
) -> _Correction:
    pairs = list(zip(shares, targets, strict=True))
    mean = torch.stack([share * target.mean for share, target in pairs]).sum(0)
    std = torch.stack([share * target.std for share, target in pairs]).sum(0)
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


def _inputs(captured: Capture, state: State, batches: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The calibration inputs on the state dict's device, of the captured shapes."""
    device = next((t.device for t in state.values()), torch.device("cpu"))
    dtypes = {state[n].dtype for n in captured.trainable if n in state}
    floating = {dtype for dtype in dtypes if dtype.is_floating_point}
    dtype = floating.pop() if len(floating) == 1 else None
    examples = {n.name: n.meta.get("val") for n in captured.graph.nodes if n.op == "placeholder"}
    wanted = [getattr(examples[name], "shape", None) for name in captured.inputs]
    found = []
    for index, batch in enumerate(read_batches(batches)):
        shapes = [getattr(x, "shape", None) for x in batch.args]
        if batch.kwargs or shapes != wanted:
            given = "keyword inputs" if batch.kwargs else f"shapes {_readable(shapes)}"
            raise DataError(
                f"calibration batch {index} has {given}; the graph was captured with positional "
                f"inputs of shapes {_readable(wanted)}. Use batches of one size, and leave out "
                "the last one if it is smaller."
            )
        found.append(batch.to(device, dtype).args)
    return found


def _readable(shapes: Sequence[Any]) -> list[Any]:
    return [None if shape is None else tuple(shape) for shape in shapes]
