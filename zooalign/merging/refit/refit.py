"""The refit of a merge: candidates, the choice among them, and the result."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from zooalign.graph.capture import Capture
from zooalign.graph.lazy_state import State, device_of, float_state
from zooalign.merging.interpolate import LazyAverage
from zooalign.merging.refit.agreement import Agreement, agreement
from zooalign.merging.refit.inputs import fitting_batches, rows_of
from zooalign.merging.refit.plan import Plan, planned
from zooalign.merging.refit.report import Method, RefitResult, RefitSettings
from zooalign.merging.refit.samples import Split
from zooalign.merging.refit.walk import Calibration, Walk, Walked
from zooalign.progress import Progress, silent

__all__ = ["refit"]

_DEFAULTS = RefitSettings()
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
        alone. Batches of other shapes than captured (a last, smaller one) are left out.
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
    device = device_of(merge)
    before = float_state(merge, device)
    batches = fitting_batches(captured, before, data)
    rows = rows_of(batches[0])
    calibration = Calibration(
        [float_state(parent, device) for parent in parents],
        average.weights,
        before,
        [batch.args for batch in batches],
        rows,
    )
    plan = planned(captured, settings, only)
    with torch.no_grad():
        candidate, scores = _chosen(plan, calibration, settings, progress)
        walked = _walked(plan, calibration, settings, Split(holding=False), candidate, progress)
    state = {
        name: tensor if walked.state[name] is before[name] else walked.state[name].to(tensor)
        for name, tensor in merge.items()
    }
    everything = rows * len(batches)
    return RefitResult(
        state,
        candidate.method,
        candidate.rounds,
        walked.layers,
        everything,
        Split(holding=bool(scores)).held(everything),
        {name: score[0] for name, score in scores.items()},
    )


@dataclass(frozen=True)
class _Candidate:
    """One way to refit: a method, and how many ReLU rounds."""

    method: Method
    rounds: int = 0

    def __str__(self) -> str:
        return f"{self.method}, {self.rounds} ReLU rounds" if self.rounds else self.method


def _candidates(plan: Plan, settings: RefitSettings) -> list[_Candidate]:
    """What the settings leave open."""
    plain = _Candidate("none")
    if settings.method == "none" or not plan.fits:
        return [plain]
    rounds = [settings.relu_rounds] if settings.relu_rounds != "auto" else [0, _ROUNDS]
    relu = settings.inputs == "merge" and any(fit.chain.relu for fit in plan.fits.values())
    fitted = [_Candidate("least-squares", n) for n in (rounds if relu else [0])]
    return [plain, *fitted] if settings.method == "auto" else fitted


def _chosen(
    plan: Plan, calibration: Calibration, settings: RefitSettings, progress: Progress
) -> tuple[_Candidate, dict[str, Agreement]]:
    """The candidate that agrees best with the parents' mean on rows it was not fitted on."""
    candidates = _candidates(plan, settings)
    if len(candidates) == 1:
        return candidates[0], {}
    split = Split(holding=True)
    scores: dict[str, Agreement] = {}
    for candidate in candidates:
        walked = _walked(plan, calibration, settings, split, candidate, progress)
        scores[str(candidate)] = agreement(walked.outputs, walked.wanted, split, calibration.rows)
    return max(candidates, key=lambda candidate: scores[str(candidate)]), scores


def _walked(
    plan: Plan,
    calibration: Calibration,
    settings: RefitSettings,
    split: Split,
    candidate: _Candidate,
    progress: Progress,
) -> Walked:
    fits = plan.fits if candidate.method != "none" else {}
    walk = Walk(replace(plan, fits=fits), calibration, settings, split, candidate.rounds, progress)
    return walk.run()
