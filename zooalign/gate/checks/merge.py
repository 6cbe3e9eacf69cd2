"""A merge: its weights, its running statistics, its barrier against the parents."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from zooalign.gate.checks.parent import aligned_states, by_index
from zooalign.gate.findings import Finding, check_of
from zooalign.graph.lazy_state import float_state
from zooalign.merging.evaluate import evaluate
from zooalign.merging.interpolate import LazyAverage
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.release import layout
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.data import Batches
from zooalign.zoo.writer import digest_of

__all__ = ["CHECKS"]

_AGAIN = "merge again with calibration data (--data)"
_MEAN, _VAR = "running_mean", "running_var"


@check_of("statistics.stale", "running statistics belong to the weights", "provenance")
def stale(subject: OpenedRelease) -> Iterator[Finding]:
    """The record says that a merge was made without calibration data: its running statistics are
    the average of the parents', which does not fit the merged weights.

    Fix: merge again with calibration data (``--data``).
    """
    assert subject.provenance is not None
    if subject.provenance.stale_statistics:
        yield Finding(
            "statistics.stale",
            "error",
            layout.PROVENANCE,
            "running statistics are the average of the parents' and do not fit the weights",
            _AGAIN,
        )


@check_of(
    "statistics.recomputed",
    "statistics recorded as recomputed are not the parents' average",
    *("spec", "provenance", "weights", "fit", "parents"),
)
def recomputed(subject: OpenedRelease) -> Iterator[Finding]:
    """The record says that running statistics were recomputed on data, and they are still exactly
    the average of the parents'.

    Fix: merge again with calibration data (``--data``).
    """
    made = subject.provenance
    assert made is not None
    states = aligned_states(subject)
    if made.operation != "merge" or made.statistics != "reset" or states is None:
        return
    average = LazyAverage(states, made.weights)
    for name in made.recomputed:
        known = name in subject.checkpoint and name in average
        if not known or name.rpartition(".")[2] not in (_MEAN, _VAR):
            continue
        if digest_of(subject.checkpoint[name]) == digest_of(average[name]):
            yield Finding(
                "statistics.recomputed",
                "error",
                name,
                "is exactly the average of the parents', and was not recomputed",
                _AGAIN,
            )


@check_of(
    "statistics.fresh",
    "running statistics are those of the data",
    *("fit", "data"),
    parameters={"shift": 0.5, "ratio": 2.0},
)
def fresh(subject: OpenedRelease) -> Iterator[Finding]:
    """Running statistics are computed anew on the data given with ``--data``. In a layer the means
    differ by more than ``shift`` standard deviations, or the variances by more than the factor
    ``ratio`` (each as the median over channels).

    Fix: merge again with calibration data (``--data``), or give data of the training distribution.
    """
    if not has_running_statistics(subject.module):
        return
    state = float_state(subject.state, "cpu")
    anew = reset_statistics(subject.module, state, FullBatches(_data(subject)))
    shift = subject.setting("statistics.fresh", "shift")
    ratio = subject.setting("statistics.fresh", "ratio")
    for name in anew:
        if name.rpartition(".")[2] != _MEAN:
            continue
        variance = name.removesuffix(_MEAN) + _VAR
        deviation = anew[variance].double().clamp_min(1e-12).sqrt()
        moved = float(((anew[name] - state[name]).double().abs() / deviation).median())
        factors = (state[variance].double().clamp_min(1e-12).log() - 2 * deviation.log()).abs()
        factor = math.exp(float(factors.median()))
        if moved > shift or factor > ratio:
            yield Finding(
                "statistics.fresh",
                "error",
                name,
                f"does not fit the data: means are off by {moved:.2f} standard deviations, "
                f"variances by a factor {factor:.2f} (allowed: {shift:g} and {ratio:g})",
                _AGAIN,
            )


@check_of("merge.weights", "a merge states weights that sum to one", "provenance")
def weights(subject: OpenedRelease) -> Iterator[Finding]:
    """The recorded weights of a merge are missing, not one per parent, or do not sum to one. (That
    the tensors are this combination of the aligned parents is ``parent.bytes``.)

    Fix: make the release again; do not edit its files by hand.
    """
    made = subject.provenance
    assert made is not None
    where = f"{layout.PROVENANCE}: weights"
    if made.operation == "merge":
        given = made.weights or ()
        if len(given) != len(made.sources) or abs(math.fsum(given) - 1) > 1e-9:
            yield _odd(where, f"{list(given)} are not one per parent that sum to one")
    elif made.weights is not None:
        yield _odd(where, "an alignment has no weights")


@check_of(
    "merge.barrier",
    "the merge is not worse than its parents by more than the bound",
    *("fit", "spec", "provenance", "parents", "data"),
    parameters={"bound": 0.5, "error_bound": 1.0},
)
def barrier(subject: OpenedRelease) -> Iterator[Finding]:
    """On the data given with ``--data`` the merge's loss exceeds the parents' losses, averaged with
    the merge's weights, by more than ``bound`` (nats); or its error theirs by more than
    ``error_bound`` (a share; 1.0 allows everything).

    Fix: align before merging, match on more data, or raise the bound on purpose.
    """
    made = subject.provenance
    assert made is not None
    parents = by_index(subject)
    if made.operation != "merge" or set(parents) != set(range(len(made.sources))):
        return
    batches = _data(subject)
    assert subject.model is not None
    loss, metric = scoring(subject.model)

    def score(state: Mapping[str, Tensor]) -> tuple[float, float]:
        with torch.no_grad():
            found = evaluate(
                subject.module, float_state(state, "cpu"), batches, loss=loss, metric=metric
            )
        return found.loss, 0.0 if found.error is None else found.error

    merged = score(subject.state)
    ends = [score(parents[index].member.state) for index in sorted(parents)]
    for place, name, bound in ((0, "loss", "bound"), (1, "error", "error_bound")):
        allowed = subject.setting("merge.barrier", bound)
        line = math.fsum(w * end[place] for w, end in zip(made.weights or (), ends, strict=True))
        height = merged[place] - line
        if not height <= allowed:
            yield Finding(
                "merge.barrier",
                "error",
                f"{name} on {subject.request.data}",
                f"barrier {height:.4f}: the merge has {merged[place]:.4f}, its parents "
                f"{', '.join(f'{end[place]:.4f}' for end in ends)}; allowed is {allowed:g}",
                "align before merging, or match on more data",
            )


def _data(subject: OpenedRelease) -> Batches:
    assert subject.model is not None and subject.request.data is not None
    return open_for(subject.model, subject.request.data, subject.request.loading)


def _odd(where: str, message: str) -> Finding:
    return Finding("merge.weights", "error", where, message, "make the release again")


CHECKS = (stale, recomputed, fresh, weights, barrier)
