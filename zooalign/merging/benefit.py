"""Whether a merge is of use: scored against its parents, the better one, and their ensemble.

Accuracy alone rewards returning one of the parents, so the agreement of answers stands beside it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.graph.batches import read_batches
from zooalign.graph.lazy_state import State
from zooalign.graph.module_runner import Runner
from zooalign.matching.measures import (
    Measure,
    Metric,
    MetricLike,
    logits,
    of_task,
    task_loss,
    task_metric,
)
from zooalign.merging.evaluate import Score, Sums
from zooalign.merging.refit.agreement import class_axis

__all__ = ["Agreement", "Benefit", "Difference", "benefit"]

BenefitKind = Literal["better", "even", "worse", "unknown"]

# A difference within so many standard errors is not called one.
_ERRORS = 2.0
# A merge that answers as one parent does this often, where parents disagree, is that parent.
_SAME = 0.98


@dataclass(frozen=True)
class Difference:
    """By how much the merge is better, and the standard error over the same predictions.

    In the metric, or in the loss where there is none. Positive where the merge is better.
    """

    value: float
    error: float

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is larger than two standard errors, else 0."""
        return 0 if abs(self.value) <= _ERRORS * self.error else int(math.copysign(1, self.value))


@dataclass(frozen=True)
class Agreement:
    """Shares of equal answers (the largest logit).

    Attributes
    ----------
    parents:
        Of the merge with each parent.
    ensemble:
        Of the merge with the parents' ensemble.
    between_parents:
        Share of predictions for which all parents give the same answer.
    """

    parents: tuple[float, ...]
    ensemble: float
    between_parents: float


@dataclass(frozen=True)
class Benefit:
    """What a merge is worth beside its parents, on one data set.

    Attributes
    ----------
    count:
        Number of predictions.
    merge, parents, ensemble:
        Scores; None (and no parent) without labels. The ensemble is the mean of the parents'
        logits with the weights of the merge; None where no logits are found.
    better_parent:
        Place of the parent with the best metric (the lowest loss without one).
    over_parent, over_ensemble:
        The merge beside the better parent and beside the ensemble.
    agreement:
        None where no logits are found.
    kind:
        ``better``, ``even`` or ``worse`` than the better parent by more than two standard errors;
        ``unknown`` without labels.
    verdict:
        Plain sentences for the user.
    """

    count: int
    merge: Score | None
    parents: tuple[Score, ...]
    ensemble: Score | None
    better_parent: int | None
    over_parent: Difference | None
    over_ensemble: Difference | None
    agreement: Agreement | None
    kind: BenefitKind
    verdict: str


def benefit(
    module: nn.Module,
    merged: State,
    parents: Sequence[State],
    batches: Iterable[object],
    *,
    weights: Sequence[float] | None = None,
    loss: Measure = task_loss,
    metric: MetricLike | None = task_metric,
    parent_modules: Sequence[nn.Module] | None = None,
) -> Benefit:
    """Score a merge beside its parents; every network runs once on each batch.

    Parameters
    ----------
    module:
        The architecture; left as it is.
    merged, parents:
        State dicts to compute with. Parents may be permuted or not: their functions are the same.
    batches:
        Pairs (inputs, targets) for scores; inputs alone for agreement.
    weights:
        Of the parents in their ensemble, summing to one; equal if None.
    loss, metric:
        As for :func:`zooalign.merging.evaluate`.
    parent_modules:
        The parents' architectures, where their configurations are not all that of ``module``.

    Raises
    ------
    DataError
        If there is no batch, or the targets do not fit the loss.
    MergeError
        If a state dict does not fit the module.
    """
    shares = [1 / len(parents)] * len(parents) if weights is None else list(weights)
    modules = [module] * len(parents) if parent_modules is None else parent_modules
    networks_run = zip((module, *modules), (merged, *parents), strict=True)
    runners = [Runner.of(architecture, state) for architecture, state in networks_run]
    networks = [_Network() for _ in range(len(parents) + 2)]
    settled = None
    for batch in read_batches(batches):
        outputs = [run(batch) for run in runners]
        outputs.append(_ensemble(outputs[1:], shares))
        targets = batch.to(runners[0].device).targets
        if targets is not None:
            settled = settled or of_task(loss, metric, outputs[0], targets)
        for network, output in zip(networks, outputs, strict=True):
            if output is not None:
                network.add(output, targets, settled)
    agreement, count = _agreement([_joined(network.answers) for network in networks])
    if settled is None:
        sentences = ("Without labels there is no score.", *_on_agreement(agreement))
        verdict = " ".join(sentences)
        return Benefit(count, None, (), None, None, None, None, agreement, "unknown", verdict)
    return _judged(networks, settled, agreement)


_Settled = tuple[Measure, Metric | None]


@dataclass(eq=False)
class _Network:
    """What one network said so far.

    ``worth`` are values per prediction that are better when higher, ``answers`` its classes.
    """

    sums: Sums = field(default_factory=Sums)
    worth: list[Tensor] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)

    def add(self, output: Any, targets: Any, settled: _Settled | None) -> None:
        """Note its outputs on a batch."""
        answers = _answers(output, targets)
        if answers is not None:
            self.answers.append(answers)
        if settled is None:
            return
        loss, metric = settled
        self.sums.add(loss, metric, output, targets)
        values = None if metric is None else metric(output, targets)
        sign = -1.0 if metric is None or values is None or metric.better == "lower" else 1.0
        values = loss(output, targets) if values is None else values
        self.worth.append(sign * values.detach().double().flatten().cpu())


def _ensemble(outputs: Sequence[Any], shares: Sequence[float]) -> Any:
    """The mean of logits, in the form of the first parent's answer; None without logits."""
    try:
        found = [logits(output).float() for output in outputs]
    except DataError:
        return None
    mean = torch.stack([z * share for z, share in zip(found, shares, strict=True)]).sum(0)
    return {"logits": mean} if isinstance(outputs[0], Mapping) else mean


def _answers(output: Any, targets: Any) -> Tensor | None:
    """The class with the largest logit, for each prediction that counts; None without classes."""
    try:
        scores = logits(output)
    except DataError:
        return None
    axis = class_axis(scores)
    if axis is None:
        return None
    answers = scores.argmax(axis)
    if isinstance(targets, Tensor) and targets.shape == answers.shape:
        answers = answers[targets >= 0]
    return answers.flatten().cpu()


def _judged(
    networks: Sequence[_Network], settled: _Settled, agreement: Agreement | None
) -> Benefit:
    """The scores, what differs, and what that means."""
    merge, *scores = (n.sums.score(*settled) if n.sums.losses else None for n in networks)
    assert merge is not None
    *others, ensemble = scores
    parents = tuple(score for score in others if score is not None)
    best = min(range(len(parents)), key=lambda i: (parents[i].error or 0.0, parents[i].loss))
    worth = [_joined(network.worth) for network in networks]
    over_parent = _difference(worth[0], worth[1 + best])
    over_ensemble = _difference(worth[0], worth[-1])
    kind: BenefitKind = "even"
    if over_parent is not None and over_parent.sign:
        kind = "better" if over_parent.sign > 0 else "worse"
    sentences = (
        _beside_parent(kind, merge, parents[best], best),
        *_beside_ensemble(over_ensemble, ensemble, len(parents)),
        *_on_agreement(agreement),
    )
    return Benefit(
        *(merge.count, merge, parents, ensemble, best, over_parent, over_ensemble),
        *(agreement, kind, " ".join(sentences)),
    )


def _joined(values: Sequence[Tensor]) -> Tensor | None:
    return torch.cat(list(values)) if values else None


def _agreement(answers: Sequence[Tensor | None]) -> tuple[Agreement | None, int]:
    """Of the merge with all others, and over how many predictions."""
    merge, *parents, ensemble = answers
    if merge is None or ensemble is None:
        return None, 0
    first, *others = (parent for parent in parents if parent is not None)
    alike = torch.ones_like(first, dtype=torch.bool)
    for other in others:
        alike &= first == other
    shares = tuple(float((merge == p).double().mean()) for p in (first, *others))
    ensembles = float((merge == ensemble).double().mean())
    return Agreement(shares, ensembles, float(alike.double().mean())), merge.numel()


def _difference(merge: Tensor | None, other: Tensor | None) -> Difference | None:
    """The mean difference over the same predictions, with its standard error."""
    if merge is None or other is None:
        return None
    gaps = merge - other
    error = float(gaps.std(correction=0)) / math.sqrt(gaps.numel())
    return Difference(float(gaps.mean()), error)


def _shown(score: Score) -> str:
    if score.accuracy is not None:
        return f"accuracy {score.accuracy:.4f}"
    if score.error is not None:
        return f"{(*score.measures, 'error', 'error')[1]} {score.error:.4f}"
    return f"loss {score.loss:.4f}"


def _beside_parent(kind: BenefitKind, merge: Score, parent: Score, place: int) -> str:
    scores = f"({_shown(merge)} against {_shown(parent)}, {merge.count} predictions)"
    which = f"parent {place + 1}"
    if kind == "better":
        return f"The merge is better than every parent on this data; the best is {which} {scores}."
    if kind == "worse":
        return (
            f"The better parent, {which}, is better than the merge on this data {scores}: for "
            "these models merging is of no use here."
        )
    return (
        f"The merge is as good as the better parent, {which}, on this data, within two standard "
        f"errors {scores}."
    )


def _beside_ensemble(
    difference: Difference | None, ensemble: Score | None, parents: int
) -> tuple[str, ...]:
    if difference is None or ensemble is None:
        return ()
    word = {1: "worse than the merge", 0: "no different from the merge", -1: "better"}
    return (
        f"The mean of the parents' logits, at {parents} times the cost, is "
        f"{word[difference.sign]} ({_shown(ensemble)}).",
    )


def _on_agreement(agreement: Agreement | None) -> tuple[str, ...]:
    if agreement is None:
        return ()
    shares = ", ".join(f"{share:.1%}" for share in agreement.parents)
    said = f"It gives the parents' answers in {shares} of the cases; "
    said += f"they agree in {agreement.between_parents:.1%}."
    nearest = max(range(len(agreement.parents)), key=agreement.parents.__getitem__)
    if agreement.parents[nearest] >= _SAME > agreement.between_parents:
        said += f" It is close to being parent {nearest + 1}."
    return (said,)
