"""Several ways to bring networks in one order, and the calibration data decides between them.

The joint objective of many networks is a proxy: of two orders, the one with the larger objective
is not always the one whose average is better. What can be run is cheap to judge by what it is for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.graph.batches import require_repeatable
from zooalign.matching.many_solve import ManyMatch
from zooalign.matching.rows import Criterion, Network, Rows, agreement, logits, score
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["least_loss"]

State = Mapping[str, Tensor]


def least_loss(
    spec: PermutationSpec,
    states: Sequence[State],
    candidates: Mapping[str, ManyMatch],
    *,
    module: nn.Module,
    data: Iterable[Any],
    criterion: Criterion | None = None,
    labels: bool | None = None,
    batch: int = 128,
) -> ManyMatch:
    """The candidate whose average of all networks has the least loss on the calibration data.

    Parameters
    ----------
    states:
        One state dict a network, as it is.
    candidates:
        By name; of equal ones the first is taken.
    data:
        Batches of (inputs, targets), or of inputs; held in memory. Normalisation by running
        statistics uses each batch's.
    criterion:
        ``criterion(outputs, targets)``, to be made small; its mean is taken. Default:
        cross-entropy where there are targets, else agreement with all networks' outputs.
    labels:
        False: leave the targets alone.
    batch:
        Rows of one run.

    Returns
    -------
    ManyMatch
        The best, ``details`` with every candidate's loss under ``loss_of_NAME``.

    Raises
    ------
    DataError
        If the data holds no batch, or labels or a criterion are asked for and there are no targets.
    """
    require_repeatable(data, "the calibration data", "several times")
    device = next((t.device for t in states[0].values()), torch.device("cpu"))
    rows = Rows.read(data, device)
    labelled = rows.targets is not None and labels is not False
    if (labels or criterion is not None) and not labelled:
        raise DataError("labels or a criterion of one's own need calibration data with targets")
    parts = torch.arange(rows.count).chunk(max(1, round(rows.count / max(batch, 1))))
    ends: list[list[Tensor]] = []
    if not labelled:
        alone = Network(module, batch_statistics=False)
        ends = [[logits(alone(s, rows.take(part))) for part in parts] for s in states]
    network = Network(module, batch_statistics=True)

    def loss(found: ManyMatch) -> float:
        moved = [spec.apply(p, s) for p, s in zip(found.permutations, states, strict=True)]
        merged, total = _mean(moved), 0.0
        for number, part in enumerate(parts):
            outputs = network(merged, rows.take(part))
            if labelled:
                assert rows.targets is not None
                wanted = rows.targets[part.to(rows.targets.device)]
                value = (criterion or score)(outputs, wanted)
            else:
                value = agreement(outputs, tuple(end[number] for end in ends))
            total += float(value.mean()) * len(part)
        return total / rows.count

    with torch.no_grad():
        losses = {name: loss(found) for name, found in candidates.items()}
    best = candidates[min(losses, key=lambda name: losses[name])]
    details = {f"loss_of_{name}": value for name, value in losses.items()}
    return replace(best, details={**best.details, **details, "labelled": float(labelled)})


def _mean(states: Sequence[State]) -> dict[str, Tensor]:
    """The average; tensors that are not of floating point are the first network's."""
    return {
        name: torch.stack([s[name].float() for s in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
        if all(name in s for s in states)
    }
