"""The refit of a merge: candidates, the choice among them, and the result."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from zooalign.graph.capture import Capture
from zooalign.graph.lazy_state import State, device_of, float_state
from zooalign.merging.calibration_inputs import fitting_batches, labels_of, rows_of
from zooalign.merging.interpolate import LazyAverage
from zooalign.merging.refit.agreement import agreement
from zooalign.merging.refit.features import Features
from zooalign.merging.refit.plan import Plan, planned
from zooalign.merging.refit.report import Method, RefitLayer, RefitResult, RefitSettings
from zooalign.merging.refit.samples import Split
from zooalign.merging.refit.targets import Calibration, Parents
from zooalign.merging.refit.temperature import best_temperature, cooled, last_layer
from zooalign.merging.refit.walk import Walk, Walked
from zooalign.progress import Progress, silent

__all__ = ["refit"]

_DEFAULTS = RefitSettings()
_AVERAGED = "the average was to stay as it is, or agreed better"
# ReLU rounds that ``auto`` tries.
_ROUNDS = 20


def refit(
    captured: Capture,
    parents: Sequence[State],
    weights: Sequence[float] | None,
    data: Iterable[object],
    settings: RefitSettings = _DEFAULTS,
    *,
    start: State | None = None,
    only: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> RefitResult:
    """Refit the weights of a merge to the mean of what its aligned parents compute.

    Parameters
    ----------
    captured:
        The architecture's graph, captured on inputs of the shapes of the data's batches.
    parents:
        State dicts, aligned to each other, lazy or in memory. Their device decides.
    weights:
        One a parent; equal if None.
    data:
        Calibration batches, see :mod:`zooalign.graph.batches`; targets are used by ``labels``
        alone. Rows of batches of another size are put together; rows of other shapes, and those
        that fill no batch, are left out and counted.
    start:
        The merge to improve: what is not refitted stays as it is there. Default: the weighted
        average of the parents.
    only:
        Whether the weight of this state-dict name may be refitted. Default: all.
    progress:
        Told of layers and steps done.

    Returns
    -------
    The new state dict, and what was done. Sums are float64; weights are rounded once to their
    dtype.

    Raises
    ------
    DataError
        If no batch has the captured shapes.
    MergeError
        If weights are unusable, or an activation is not finite.
    SpecError
        If a state dict lacks what the graph reads.
    """
    average = LazyAverage(parents, weights)
    merge = dict(average if start is None else start)
    calibration, left_out = _calibration(captured, merge, parents, average.weights, data)
    plan = planned(captured, settings, only)
    with torch.no_grad():
        parents_run = Parents(plan, calibration, settings)
        choice = _Trials(plan, calibration, settings, parents_run, progress).chosen(only)
    before, after = calibration.start, choice.walked.state
    state = {n: t if after[n] is before[n] else after[n].to(t) for n, t in merge.items()}
    rows = calibration.rows * len(calibration.batches)
    held = choice.split.held(rows)
    return RefitResult(
        state,
        choice.candidate.method,
        choice.candidate.rounds,
        choice.walked.layers,
        rows - held if choice.candidate.method == "features" else rows,
        held,
        choice.agreement,
        choice.temperature,
        left_out,
    )


def _calibration(
    captured: Capture,
    merge: State,
    parents: Sequence[State],
    weights: Sequence[float],
    data: Iterable[object],
) -> tuple[Calibration, int]:
    """Everything in memory, in at least float32, on the merge's device; rows left out."""
    device = device_of(merge)
    before = float_state(merge, device)
    batches, left_out = fitting_batches(captured, before, data)
    rows = rows_of(batches[0])
    floats = [float_state(parent, device) for parent in parents]
    inputs = [batch.args for batch in batches]
    return Calibration(floats, weights, before, inputs, rows, labels_of(batches)), left_out


@dataclass(frozen=True)
class _Candidate:
    """One way to refit: a method, and how many ReLU rounds."""

    method: Method
    rounds: int = 0

    def __str__(self) -> str:
        rounds = self.rounds if self.method == "least-squares" else 0
        return f"{self.method}, {rounds} ReLU rounds" if rounds else self.method


def _candidates(plan: Plan, settings: RefitSettings) -> list[_Candidate]:
    """What the settings leave open."""
    plain = _Candidate("none")
    if settings.method == "none" or not plan.fits:
        return [plain]
    rounds = [settings.relu_rounds] if settings.relu_rounds != "auto" else [0, _ROUNDS]
    relu = settings.inputs == "merge" and any(fit.chain.relu for fit in plan.fits.values())
    fitted = [_Candidate("least-squares", n) for n in (rounds if relu else [0])]
    return [plain, *fitted] if settings.method == "auto" else fitted


@dataclass(frozen=True, eq=False)
class _Choice:
    """The candidate that was chosen, refitted, and how the candidates agreed on rows held out."""

    candidate: _Candidate
    walked: Walked
    split: Split
    agreement: dict[str, float]
    temperature: float | None


@dataclass(frozen=True, eq=False)
class _Trials:
    """What candidates have in common."""

    plan: Plan
    calibration: Calibration
    settings: RefitSettings
    parents: Parents
    progress: Progress

    def walked(self, candidate: _Candidate, split: Split) -> Walked:
        """The merge that a candidate gives."""
        plan = self.plan
        if candidate.method == "none":
            kept = {n: RefitLayer(f.product.name, _AVERAGED) for n, f in plan.fits.items()}
            plan = replace(plan, fits={}, averaged={**plan.averaged, **kept})
        walk = Walk(plan, self.calibration, self.settings, self.parents)
        return walk.run(split, candidate.rounds, self.progress)

    def chosen(self, only: Callable[[str], bool] | None) -> _Choice:
        """The candidate that agrees best with the parents' mean on rows it was not fitted on.

        One in closed form is fitted again on all rows.
        """
        settings, rows = self.settings, self.calibration.rows
        candidates = _candidates(self.plan, settings)
        several = len(candidates) > 1 or settings.method == "features"
        split = Split(holding=several or settings.temperature)
        scores: dict[_Candidate, tuple[float, float]] = {}
        best, walked = candidates[0], None
        for candidate in candidates if split.holding else []:
            tried = self.walked(candidate, split)
            scores[candidate] = agreement(tried.outputs, tried.wanted, split, rows)
            if scores[candidate] == max(scores.values()):
                best, walked = candidate, tried
        if settings.method == "features" and walked is not None:
            features = Features(self.plan, self.calibration, settings, split)
            trained = features.trained(walked.state, only, self.progress)
            if trained is not None:
                best = _Candidate("features", best.rounds)
                walked = replace(walked, state=trained.state, outputs=trained.outputs)
                scores[best] = agreement(walked.outputs, walked.wanted, split, rows)
        last = last_layer(self.plan) if settings.temperature else None
        temperature = None
        if last is not None and walked is not None:
            temperature = best_temperature(walked.outputs, walked.wanted, split, rows)
        if walked is None or best.method != "features":
            walked = self.walked(best, Split(holding=False))
        if last is not None and temperature is not None:
            walked = replace(walked, state=cooled(self.plan, walked.state, last, temperature))
        named = {str(candidate): score[0] for candidate, score in scores.items()}
        return _Choice(best, walked, split, named, temperature)
