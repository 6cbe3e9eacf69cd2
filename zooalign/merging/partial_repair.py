"""REPAIR of a partial merge: merged units get their parents' mean statistics, kept ones theirs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.graph.batches import read_batches
from zooalign.graph.capture import capture
from zooalign.matching.resize import first_slots, placements, tensor_places
from zooalign.matching.unequal import Padded
from zooalign.merging.into_slots import factors_of
from zooalign.merging.layers import Layer, find_layers
from zooalign.merging.moments import Moments
from zooalign.merging.norms import find_norms
from zooalign.merging.partial import PartialMerge
from zooalign.merging.repair import RepairResult, calibration_inputs, result_of
from zooalign.merging.towards import Target, brought_to, unit_moments
from zooalign.symmetry.extract import extract_spec
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["repair_partial"]


def repair_partial(
    made: PartialMerge,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor] | Padded,
    *,
    module: nn.Module,
    data: Iterable[Any],
) -> RepairResult:
    """Set the mean and deviation of every unit to those of the units it is made of.

    Parameters
    ----------
    made:
        What :func:`~zooalign.merging.partial_merge` or :func:`~zooalign.merging.zip_merge` gave.
    a, b:
        The state dicts that were merged, as they were given there.
    module:
        The parents' architecture.
    data:
        Calibration inputs, batches of one size; targets are not used.

    Returns
    -------
    The new state dict, for ``made.module``, and what was repaired: see
    :func:`~zooalign.merging.repair`. Running statistics are reset in the same pass.

    Raises
    ------
    DataError, MergeError, TraceError
        As :func:`~zooalign.merging.repair`.
    """
    batches = list(data)
    example = next(read_batches(batches)).args
    narrow, wide = capture(module, example), capture(made.module, example)
    layers, _ = find_layers(narrow)
    wide_layers, skipped = find_layers(wide)
    norms, shared = find_norms(wide)
    if [layer.weight for layer in layers] != [layer.weight for layer in wide_layers]:
        raise MergeError("the merged module has other layers than its parents'")
    spec = extract_spec(module, example)
    inputs = calibration_inputs(wide, made.state, batches)
    states = [a, b.state if isinstance(b, Padded) else b]
    moments = [unit_moments(narrow, state, inputs, layers) for state in states]
    wanted, kept = {}, []
    for layer, wider in zip(layers, wide_layers, strict=True):
        target = _target(made, spec, layer, [m[layer.node] for m in moments])
        if target is None:
            skipped += ((layer.weight, "its units lie along several axes"),)
        else:
            wanted[wider.node] = target
            kept.append(wider)
    state, dead = brought_to(wide, made.state, inputs, kept, norms, wanted)
    return result_of(state, kept, norms, skipped + shared, dead)


def _target(
    made: PartialMerge, spec: PermutationSpec, layer: Layer, moments: Sequence[Moments]
) -> Target | None:
    """Statistics of the units in each slot of a layer, weighted as the units are."""
    name, axes = layer.weight, layer.weight_axes
    places, wide_places = tensor_places(spec)[name], tensor_places(made.spec)[name]
    moved = [p for p in places if p.group in made.slots and set(p.axes) & set(axes)]
    if moved and (len(axes) > 1 or layer.groups > 1):
        return None
    parts = []
    for m, (found, weight) in enumerate(zip(moments, made.weights, strict=True)):
        index, factor = np.arange(len(found.mean)), np.full(len(found.mean), weight)
        if moved:
            slots = {**first_slots(spec, made.spec), **{g: s[m] for g, s in made.slots.items()}}
            shapes = (spec.shapes[name], made.spec.shapes[name])
            placed = placements(places, wide_places, *shapes, slots, name)
            (placement,) = (p for p in placed if p.axes == axes)
            index = placement.index
            for at in placement.standing:
                if at.place.group in made.slots:
                    own = factors_of(made.slots, m, made.weights)[at.place.group]
                    factor = np.where(at.narrow < 0, factor, own[at.narrow])
        parts.append((index, factor, found))
    size = max(int(index.max()) for index, _, _ in parts) + 1
    mean, std = torch.zeros(size).double(), torch.zeros(size).double()
    for index, factor, found in parts:
        live = index >= 0
        to, share = torch.from_numpy(index[live]), torch.from_numpy(factor[live])
        rows = torch.from_numpy(live)
        mean.index_add_(0, to, share * found.mean[rows])
        std.index_add_(0, to, share * found.std[rows])
    return Target(mean, std)
