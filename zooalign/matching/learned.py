"""Learned permutations: gradients of the merged network's loss on calibration data.

Every group has a matrix of scores, which start at the similarities of activation matching. The
midpoint of the target and the permuted source is run on a batch, and the gradient of its loss
moves the scores. ``straight-through`` runs the permutation that the scores ask for, and takes the
gradient as if it were the doubly stochastic matrix Sinkhorn's normalisation makes of them (the
estimator of Bengio et al. 1308.3432, as in Ainsworth et al. 2209.04836, there on weights);
``sinkhorn`` runs that matrix itself, ever sharper (Peña et al. 2212.12042). What counts is the
loss of the projected permutation on rows that were held out: the best is returned, and never one
that is worse than the start by it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.matching.activation import activation_similarity
from zooalign.matching.assignment import AssignmentSolver, linear
from zooalign.matching.midpoint import Midpoint
from zooalign.matching.relaxed import softened
from zooalign.matching.result import Match
from zooalign.matching.rows import Criterion, Rows
from zooalign.matching.weight import Found, summary
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Schedule", "learned_matching"]

# Of the temperature, what is left at the end of the sinkhorn variant.
_COLD = 0.05
# Other starts shake the scores by this much, in units of similarity.
_SHAKE = 0.1
# What a pair of a given permutation is worth beside its similarity.
_PAIRED = 0.3


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and from where permutations are learned.

    Attributes
    ----------
    steps:
        Steps at most. The learning rate falls to zero along half a cosine.
    rate:
        Adam's first learning rate.
    batch:
        Rows of a step. Normalisation uses their statistics: not too few.
    prior:
        What similarities are multiplied by to make the first scores: the more, the fewer units
        leave their first partner.
    temperature:
        Scores are divided by it before Sinkhorn's normalisation.
    check:
        After so many steps each time, the projection is scored on the rows held out.
    patience:
        Stop after so many checks without a new best.
    """

    steps: int = 120
    rate: float = 0.02
    batch: int = 128
    prior: float = 4.0
    temperature: float = 0.1
    check: int = 15
    patience: int = 5

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * 0.5 * (1 + cos(pi * step / self.steps))


def learned_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    variant: str = "straight-through",
    criterion: Criterion | None = None,
    labels: bool | None = None,
    holdout: float = 0.2,
    steps: int = 120,
    rate: float = 0.02,
    batch: int = 128,
    prior: float = 4.0,
    temperature: float = 0.1,
    check: int = 15,
    patience: int = 5,
    kind: str = "correlation",
    places: str = "activations",
    starts: int = 1,
    seed: int = 0,
    solver: AssignmentSolver = linear,
    initial: Permutation | None = None,
    progress: Callable[[int], None] | None = None,
) -> Match:
    """The permutation of ``source`` with the least loss of the midpoint on data held out.

    Parameters
    ----------
    spec, target, source, module, kind, places:
        As for :func:`~zooalign.matching.activation.activation_matching`, which gives the start.
    data:
        Batches of (inputs, targets), or of inputs. Read twice and held in memory. What a
        permutation was learned on says nothing of it any more: measure it on other data.
    variant:
        ``straight-through`` or ``sinkhorn``.
    criterion:
        ``criterion(outputs, targets)``, to be made small; its mean is taken. Default:
        cross-entropy where there are targets, else agreement with both endpoints' outputs.
    labels:
        False: leave the targets alone, and learn from the endpoints' outputs.
    holdout:
        Share of the rows that no gradient sees, in (0, 1).
    steps, rate, batch, prior, temperature, check, patience:
        See :class:`Schedule`.
    starts:
        The first from the activations' solution, the others from it shaken.
    initial:
        In place of the activations' solution: its pairs count more than they look alike.
    seed:
        For the split, the order of rows and the starts.

    Returns
    -------
    Match
        The objective is minus the loss on the rows held out, normalisation by their statistics.

    Raises
    ------
    DataError
        If there are fewer than four rows, or rows that do not fit together.
    MergeError
        For an unknown variant or a share outside (0, 1).
    """
    if variant not in ("straight-through", "sinkhorn"):
        raise MergeError(f"no variant '{variant}'; there are 'straight-through' and 'sinkhorn'")
    if not 0 < holdout < 1:
        raise MergeError(f"holdout is {holdout}; it is a share of the rows between 0 and 1")
    require_repeatable(data, "the calibration data", "twice")
    schedule = Schedule(steps, rate, batch, prior, temperature, check, patience)
    device = next((t.device for t in target.values()), torch.device("cpu"))
    rows = Rows.read(data, device)
    if rows.count < 4:
        raise DataError(f"the data has {rows.count} rows; learning needs some hundred")
    midpoint = Midpoint(spec, target, source, module, rows, criterion, labels, solver)
    seen_alike, similarity = activation_similarity(
        spec,
        target,
        source,
        module=module,
        data=data,
        kind=kind,
        places=places,
        solver=solver,
    )
    first = seen_alike.permutation if initial is None else initial
    if initial is not None:
        for group, matrix in midpoint.relaxation.matrices(initial, torch.zeros(1)).items():
            paired = _PAIRED * matrix.numpy()
            similarity[group] = similarity[group] + paired if group in similarity else paired
    found: list[Found] = []
    for number in range(max(1, starts)):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(rows.count, generator=generator)
        held = order[: max(2, round(holdout * rows.count))]
        seen = order[len(held) :]
        generator.manual_seed(seed + number)
        scores = _scores(midpoint, similarity, schedule.prior, number, generator)
        if number == 0:
            before = midpoint.held_out(spec.identity(), held, schedule.batch)
            start = midpoint.held_out(first, held, schedule.batch)
        begin = Found(-start, first)
        found.append(
            _learn(midpoint, begin, scores, schedule, variant, seen, held, generator, progress)
        )
    best = max(found, key=lambda one: one.objective)
    details = {
        **summary(found),
        "steps": best.sweeps,
        "samples": rows.count,
        "held_out": len(held),
        "start_objective": -start,
        "labelled": float(midpoint.labelled),
    }
    return Match(best.permutation, "learned", -before, best.objective, details)


def _scores(
    midpoint: Midpoint,
    similarity: Mapping[str, np.ndarray],
    prior: float,
    number: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The first scores: all groups that have a matrix or were seen."""
    sizes = {g: len(m) for g, m in similarity.items()} | midpoint.relaxation.sizes
    device = next(iter(midpoint.target.values())).device
    found = {}
    for group, size in sizes.items():
        matrix = torch.from_numpy(similarity.get(group, np.zeros((size, size)))).float()
        if number:
            matrix = matrix + _SHAKE * torch.randn(size, size, generator=generator)
        found[group] = (prior * matrix).to(device)
    return found


def _learn(
    midpoint: Midpoint,
    best: Found,
    scores: dict[str, Tensor],
    schedule: Schedule,
    variant: str,
    seen: Tensor,
    held: Tensor,
    generator: torch.Generator,
    progress: Callable[[int], None] | None,
) -> Found:
    """Steps until the schedule or the patience ends; the best of ``best`` and all checks."""
    leaves = {g: m.requires_grad_() for g, m in scores.items() if g in midpoint.relaxation.sizes}
    optimizer = torch.optim.Adam(leaves.values(), lr=schedule.rate) if leaves else None
    waited = 0
    for step in range(schedule.steps if optimizer is not None else 0):
        assert optimizer is not None
        optimizer.param_groups[0]["lr"] = schedule.rate_at(step)
        drawn = torch.randperm(len(seen), generator=generator)[: schedule.batch]
        with torch.enable_grad():
            matrices = _forward(midpoint, scores, leaves, schedule, variant, step)
            loss = midpoint.loss(matrices, seen[drawn]).mean()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1)
        if (step + 1) % schedule.check and step + 1 < schedule.steps:
            continue
        permutation = midpoint.project(scores)
        value = -midpoint.held_out(permutation, held, schedule.batch)
        waited = 0 if value > best.objective else waited + 1
        if value > best.objective:
            best = Found(value, permutation, step + 1)
        if waited >= schedule.patience:
            break
    return best


def _forward(
    midpoint: Midpoint,
    scores: Mapping[str, Tensor],
    leaves: Mapping[str, Tensor],
    schedule: Schedule,
    variant: str,
    step: int,
) -> dict[str, Tensor]:
    temperature = schedule.temperature
    if variant == "sinkhorn":
        temperature *= _COLD ** (step / schedule.steps)
    soft = softened(midpoint.spec, leaves, temperature)
    if variant == "sinkhorn":
        return soft
    like = next(iter(midpoint.target.values()))
    hard = midpoint.relaxation.matrices(midpoint.project(scores), like)
    return {g: hard[g] + soft[g] - soft[g].detach() for g in soft}
