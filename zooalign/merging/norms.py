"""Batch normalisation in a captured graph, its running statistics reset during REPAIR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.errors import MergeError
from zooalign.graph.capture import Capture
from zooalign.merging.moments import Moments
from zooalign.merging.products import packet

__all__ = ["Norm", "find_norms", "normalised_anew", "reset_norm"]

_ARGUMENTS = (
    "input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps",
)  # fmt: skip


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


def find_norms(captured: Capture) -> tuple[tuple[Norm, ...], tuple[tuple[str, str], ...]]:
    """Normalisations in graph order, and (running mean, reason) of those that cannot be reset."""
    found: list[Norm] = []
    for node in captured.graph.nodes:
        if packet(node) != "aten.batch_norm":
            continue
        given: dict[str, Any] = {**dict(zip(_ARGUMENTS, node.args, strict=False)), **node.kwargs}
        stored = {name: _stored(captured, given.get(name)) for name in _ARGUMENTS[1:5]}
        source, mean, variance = given["input"], stored["running_mean"], stored["running_var"]
        if mean is None or variance is None or not isinstance(source, fx.Node):
            continue
        found.append(
            Norm(node, source, mean, variance, stored["weight"], stored["bias"], given["eps"])
        )
    counts: dict[str, int] = {}
    for norm in found:
        counts[norm.mean] = counts.get(norm.mean, 0) + 1
    kept = tuple(norm for norm in found if counts[norm.mean] == 1)
    several = {norm.mean: "it is used more than once" for norm in found if counts[norm.mean] > 1}
    return kept, tuple(several.items())


def reset_norm(norm: Norm, state: Mapping[str, Tensor], measured: Moments) -> dict[str, Tensor]:
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


def normalised_anew(
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
