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

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import require_repeatable
from zooalign.matching.calibration_set import CalibrationLoss, CalibrationSet, Criterion
from zooalign.matching.problem import Match, MatchProblem, Solver, option
from zooalign.matching.relaxed import Relaxation, softened
from zooalign.matching.unit_responses import ActivationOptions, Activations
from zooalign.matching.weight import LocalOptimum, summary, tensors_matched
from zooalign.progress import StepProgress
from zooalign.symmetry.permutation import Permutation

__all__ = ["LearnedMatching", "LearningOptions", "Midpoint", "learn_permutation"]

# Of the temperature, what is left at the end of the sinkhorn variant.
_COLD = 0.05
# Other starts shake the scores by this much, in units of similarity.
_SHAKE = 0.1
# What a pair of a given permutation is worth beside its similarity.
_PAIRED = 0.3


@dataclass(frozen=True, kw_only=True)
class LearningOptions(ActivationOptions):
    """How long, how fast, from where and by what permutations are learned."""

    variant: str = option(
        "straight-through",
        "what is run in a step: the permutation itself, or a soft one that sharpens",
        choices=("straight-through", "sinkhorn"),
    )
    criterion: Criterion | None = option(
        None,
        "criterion(outputs, targets), to be made small, in place of cross-entropy",
        python_only=True,
    )
    labels: bool | None = option(
        None, "false: leave targets alone, and judge by agreement with both models' outputs"
    )
    holdout: float = option(0.2, "share of the rows that no gradient sees, in (0, 1)")
    steps: int = option(120, "steps at most; the rate falls to zero along half a cosine")
    rate: float = option(0.02, "Adam's first learning rate")
    batch: int = option(128, "rows of a step; normalisation uses their statistics: not too few")
    prior: float = option(
        4.0, "what similarities are multiplied by for the first scores: the more, the fewer change"
    )
    temperature: float = option(0.1, "what scores are divided by before they are normalised")
    check: int = option(15, "steps between two tests of the permutation on the rows held out")
    patience: int = option(5, "tests without a new best after which learning stops")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.holdout < 1:
            raise MergeError(
                f"holdout is {self.holdout}; it is a share of the rows between 0 and 1"
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * 0.5 * (1 + cos(pi * step / self.steps))


@dataclass(frozen=True, kw_only=True)
class LearnedMatching(LearningOptions, Solver):
    """The permutation of the source with the least loss of the midpoint on rows held out.

    The objective is minus that loss. The data is read twice and held in memory. What a permutation
    was learned on says nothing of it any more: measure it on other data.
    """

    name = "learned"
    objective = "loss of the average on the data"
    objective_is_loss = True
    needs = frozenset({"data", "module"})
    starts: int = option(1, "starts to search from; the best result is taken")
    initial: Permutation | None = option(
        None, "where to start in place of the activations' match", python_only=True
    )

    def solve(self, problem: MatchProblem) -> Match:
        """Match activations, and learn from there; fewer than four rows raise DataError."""
        module, data = problem.run_on_data(self.name)
        require_repeatable(data, "the calibration data", "twice")
        rows = CalibrationSet.read(data, problem.device)
        ends = (problem.target, problem.source)
        loss = CalibrationLoss(module, rows, ends, self.criterion, self.labels)
        midpoint = Midpoint(problem, loss)
        activations = Activations(problem.quiet, self.places)
        return learn_permutation(problem, self, midpoint, activations, self.initial, self.starts)


class Midpoint:
    """The network halfway between target and permuted source, and its loss on calibration rows."""

    def __init__(self, problem: MatchProblem, loss: CalibrationLoss) -> None:
        self.spec = problem.spec
        self.state_loss = loss
        names = [n for n in problem.target if n in problem.source]
        self.target = {n: problem.target[n] for n in names}
        self._source = {n: problem.source[n] for n in names}
        matched = tensors_matched(problem.spec, problem.target, problem.source)
        self.relaxation = Relaxation(problem.spec, matched)

    def project(self, scores: Mapping[str, Tensor]) -> Permutation:
        """The permutation that scores ask for."""
        return self.relaxation.project({g: m.double() for g, m in scores.items()})

    def matrices(self, permutation: Permutation) -> dict[str, Tensor]:
        """The 0-1 matrices of a permutation."""
        return self.relaxation.matrices(permutation, next(iter(self.target.values())))

    def _state(self, matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
        midpoint = {}
        for name, tensor in self.target.items():
            other = self._source[name]
            if name in self.relaxation.places:
                other = self.relaxation.moved(matrices, name, other)
            midpoint[name] = (tensor + other) / 2 if tensor.is_floating_point() else tensor
        return midpoint

    def loss(self, matrices: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """On some rows, the source under matrices; differentiable in them."""
        return self.state_loss(self._state(matrices), index)

    def mean_loss(self, permutation: Permutation, batch: int, index: Tensor | None = None) -> float:
        """Mean loss under a permutation, on all rows or some; no gradients."""
        with torch.no_grad():
            state = self._state(self.matrices(permutation))
        return self.state_loss.mean(state, batch, index)


def learn_permutation(
    problem: MatchProblem,
    options: LearningOptions,
    midpoint: Midpoint,
    activations: Activations,
    initial: Permutation | None = None,
    starts: int = 1,
) -> Match:
    """Learn from the activations' match, or from ``initial``: its pairs count beside similarity."""
    count = midpoint.state_loss.rows.count
    if count < 4:
        raise DataError(f"the data has {count} rows; learning needs some hundred")
    activation_match, similarity = activations.match(options.kind)
    first = activation_match.permutation if initial is None else initial
    if initial is not None:
        for group, matrix in midpoint.relaxation.matrices(initial, torch.zeros(1)).items():
            paired = _PAIRED * matrix.numpy()
            similarity[group] = similarity[group] + paired if group in similarity else paired
    generator = torch.Generator().manual_seed(problem.seed)
    order = torch.randperm(count, generator=generator)
    held_out = order[: max(2, round(options.holdout * count))]
    before = midpoint.mean_loss(problem.spec.identity(), options.batch, held_out)
    start = midpoint.mean_loss(first, options.batch, held_out)
    ends: list[LocalOptimum] = []
    for number in range(max(1, starts)):
        generator.manual_seed(problem.seed + number)
        scores = _scores(midpoint, similarity, options.prior, number, generator)
        search = _Search(midpoint, options, order[len(held_out) :], held_out, generator)
        ends.append(search.run(LocalOptimum(-start, first), scores, problem.progress))
    best = max(ends, key=lambda end: end.objective)
    details = {
        **summary(ends),
        "steps": best.sweeps,
        "samples": count,
        "held_out": len(held_out),
        "start_objective": -start,
        "labelled": float(midpoint.state_loss.labelled),
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
    scores = {}
    for group, size in sizes.items():
        matrix = torch.from_numpy(similarity.get(group, np.zeros((size, size)))).float()
        if number:
            matrix = matrix + _SHAKE * torch.randn(size, size, generator=generator)
        scores[group] = (prior * matrix).to(device)
    return scores


@dataclass(frozen=True, eq=False)
class _Search:
    """Gradient steps from one start."""

    midpoint: Midpoint
    options: LearningOptions
    seen: Tensor
    held_out: Tensor
    generator: torch.Generator

    def run(
        self, best: LocalOptimum, scores: dict[str, Tensor], progress: StepProgress
    ) -> LocalOptimum:
        """Steps until the schedule or the patience ends; the best of ``best`` and all tests."""
        options, midpoint = self.options, self.midpoint
        sizes = midpoint.relaxation.sizes
        leaves = {g: m.requires_grad_() for g, m in scores.items() if g in sizes}
        if not leaves:
            return best
        optimizer = torch.optim.Adam(leaves.values(), lr=options.rate)
        waited = 0
        for step in range(options.steps):
            optimizer.param_groups[0]["lr"] = options.rate_at(step)
            drawn = torch.randperm(len(self.seen), generator=self.generator)[: options.batch]
            with torch.enable_grad():
                matrices = self._forward(scores, leaves, step)
                loss = midpoint.loss(matrices, self.seen[drawn]).mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
            optimizer.step()
            progress(step + 1)
            if (step + 1) % options.check and step + 1 < options.steps:
                continue
            permutation = midpoint.project(scores)
            value = -midpoint.mean_loss(permutation, options.batch, self.held_out)
            waited = 0 if value > best.objective else waited + 1
            if value > best.objective:
                best = LocalOptimum(value, permutation, step + 1)
            if waited >= options.patience:
                break
        return best

    def _forward(
        self, scores: Mapping[str, Tensor], leaves: Mapping[str, Tensor], step: int
    ) -> dict[str, Tensor]:
        """The matrices that are run, with gradients."""
        midpoint, temperature = self.midpoint, self.options.temperature
        if self.options.variant == "sinkhorn":
            temperature *= _COLD ** (step / self.options.steps)
            return softened(midpoint.spec, leaves, temperature)
        soft = softened(midpoint.spec, leaves, temperature)
        hard = midpoint.matrices(midpoint.project(scores))
        return {g: hard[g] + soft[g] - soft[g].detach() for g in soft}
