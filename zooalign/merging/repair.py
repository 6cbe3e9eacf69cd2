"""REPAIR: give the units of a merged network the activation statistics of its parents.

Averaging weights shrinks the variance of hidden units, layer after layer. REPAIR (Jordan et al.
2211.08403) sets the mean and the standard deviation of every unit's preactivation to the
average of its parents'. Where the paper inserts and resets BatchNorm layers, here the weights
take up the change in closed form: with measured mean m and deviation s, and wanted m* and s*,
the unit's row is multiplied by s*/s and its bias b becomes (b - m) s*/s + m*. Where a network has
BatchNorm layers of its own, their running statistics are reset on the way, wherever they stand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import Capture, capture
from zooalign.graph.lazy_state import State
from zooalign.matching.axis_maps import axis_maps, first_slots
from zooalign.matching.unit_views import tensor_views
from zooalign.matching.widths import Padded
from zooalign.merging.affine_correction import (
    Norm,
    Target,
    find_norms,
    unit_moments,
    with_statistics,
)
from zooalign.merging.calibration_inputs import calibration_inputs
from zooalign.merging.interpolate import normalised
from zooalign.merging.layers import Layer, find_layers
from zooalign.merging.partial import PartialMerge
from zooalign.merging.slot_merge import factors_of
from zooalign.merging.statistics import UnitMoments
from zooalign.symmetry.extract import extract_spec
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["RepairResult", "repair", "repair_partial"]


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


def repair(
    captured: Capture,
    merged: State,
    parents: Sequence[State],
    weights: Sequence[float] | None,
    batches: Iterable[object],
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
    are two numbers per unit.

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
    their dtype. Parents equal to the merged network leave it as it is, but for running statistics.

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
    inputs = calibration_inputs(captured, state, batches)
    if not (layers or norms):
        return RepairResult(state, (), (), skipped, 0)
    moments = [unit_moments(captured, parent, inputs, layers) for parent in parents]
    targets = {layer.node: _mean([m[layer.node] for m in moments], shares) for layer in layers}
    return _repaired(captured, state, inputs, layers, norms, targets, skipped)


def repair_partial(
    merge: PartialMerge,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor] | Padded,
    *,
    module: nn.Module,
    data: Iterable[object],
) -> RepairResult:
    """Set the mean and deviation of every unit to those of the units that were merged in it.

    Parameters
    ----------
    merge:
        What :func:`~zooalign.merging.partial_merge` or :func:`~zooalign.merging.zip_merge` gave.
    a, b:
        The state dicts that were merged, as they were given there.
    module:
        The parents' architecture.
    data:
        Calibration inputs, batches of one size; targets are not used.

    Returns
    -------
    The new state dict, for ``merge.module``, and what was repaired: see
    :func:`~zooalign.merging.repair`. Running statistics are reset in the same pass.

    Raises
    ------
    DataError, MergeError, TraceError
        As for :func:`~zooalign.merging.repair`.
    """
    batches = list(data)
    example = next(read_batches(batches)).args
    parent_graph, merged_graph = capture(module, example), capture(merge.module, example)
    layers, _ = find_layers(parent_graph)
    merged_layers, skipped = find_layers(merged_graph)
    norms, shared = find_norms(merged_graph)
    if [layer.weight for layer in layers] != [layer.weight for layer in merged_layers]:
        raise MergeError("the merged module has other layers than its parents'")
    spec = extract_spec(module, example)
    inputs = calibration_inputs(merged_graph, merge.state, batches)
    states = [a, b.state if isinstance(b, Padded) else b]
    moments = [unit_moments(parent_graph, state, inputs, layers) for state in states]
    targets, kept = {}, []
    for layer, merged_layer in zip(layers, merged_layers, strict=True):
        target = _target(merge, spec, layer, [m[layer.node] for m in moments])
        if target is None:
            skipped += ((layer.weight, "its units lie along several axes"),)
        else:
            targets[merged_layer.node] = target
            kept.append(merged_layer)
    return _repaired(merged_graph, merge.state, inputs, kept, norms, targets, skipped + shared)


def _target(
    merge: PartialMerge, spec: PermutationSpec, layer: Layer, moments: Sequence[UnitMoments]
) -> Target | None:
    """Statistics of the units in each slot of a layer, weighted as the units are."""
    name, axes = layer.weight, layer.weight_axes
    places, wide_places = tensor_views(spec)[name], tensor_views(merge.spec)[name]
    moved = [p for p in places if p.group in merge.slots and set(p.axes) & set(axes)]
    if moved and (len(axes) > 1 or layer.groups > 1):
        return None
    parts = []
    for model, (measured, weight) in enumerate(zip(moments, merge.weights, strict=True)):
        positions, factor = np.arange(len(measured.mean)), np.full(len(measured.mean), weight)
        if moved:
            slots = {
                **first_slots(spec, merge.spec),
                **{g: s[model] for g, s in merge.slots.items()},
            }
            shapes = (spec.shapes[name], merge.spec.shapes[name])
            maps = axis_maps(places, wide_places, *shapes, slots, name)
            (axis_map,) = (p for p in maps if p.axes == axes)
            positions = axis_map.index
            for at in axis_map.occupancies:
                if at.place.group in merge.slots:
                    factors = factors_of(merge.slots, model, merge.weights)[at.place.group]
                    factor = np.where(at.narrow < 0, factor, factors[at.narrow])
        parts.append((positions, factor, measured))
    size = max(int(positions.max()) for positions, _, _ in parts) + 1
    mean, std = torch.zeros(size).double(), torch.zeros(size).double()
    for positions, factor, measured in parts:
        live = positions >= 0
        to, share = torch.from_numpy(positions[live]), torch.from_numpy(factor[live])
        rows = torch.from_numpy(live)
        mean.index_add_(0, to, share * measured.mean[rows])
        std.index_add_(0, to, share * measured.std[rows])
    return Target(mean, std)


def _repaired(
    captured: Capture,
    state: State,
    inputs: Sequence[tuple[object, ...]],
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    targets: Mapping[fx.Node, Target],
    skipped: tuple[tuple[str, str], ...],
) -> RepairResult:
    repaired, dead = with_statistics(captured, state, inputs, layers, norms, targets)
    return RepairResult(
        repaired,
        tuple(layer.weight for layer in layers),
        tuple(layer.weight for layer in layers if layer.bias is None),
        skipped,
        dead,
        tuple(norm.mean for norm in norms),
    )


def _mean(moments: Sequence[UnitMoments], shares: Sequence[float]) -> Target:
    means, stds = (
        torch.stack([s * getattr(one, name) for s, one in zip(shares, moments, strict=True)])
        for name in ("mean", "std")
    )
    return Target(means.sum(0), stds.sum(0))
