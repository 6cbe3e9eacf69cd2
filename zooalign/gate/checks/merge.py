"""A merge: its weights, its running statistics, its barrier against the parents."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from zooalign.gate.checks.comparing import aligned_states, parents_by_source
from zooalign.gate.findings import Problem, check
from zooalign.graph.lazy_state import float_state, same_bytes
from zooalign.merging.evaluate import evaluate
from zooalign.merging.interpolate import LazyAverage
from zooalign.merging.statistics import has_running_statistics, reset_statistics
from zooalign.release import layout
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.opened import OpenedRelease
from zooalign.zoo.data import Batches

_AGAIN = "merge again with calibration data (--data)"
_MEAN, _VAR = "running_mean", "running_var"


@check(
    "statistics.stale",
    "the running statistics were computed for these weights",
    "provenance",
    fix=_AGAIN,
)
def stale(release: OpenedRelease) -> Iterator[Problem]:
    """The record says that a merge was made without calibration data: its running statistics are
    the average of the parents', which does not fit the merged weights.
    """
    if release.provenance.stale_statistics:
        yield Problem(
            layout.PROVENANCE,
            "running statistics are the average of the parents' and do not fit the weights",
        )


@check(
    "statistics.recomputed",
    "statistics recorded as recomputed are not the parents' average",
    *("spec", "provenance", "weights", "fit", "parents"),
    fix=_AGAIN,
)
def recomputed(release: OpenedRelease) -> Iterator[Problem]:
    """The record says that running statistics were recomputed on data, or weights refitted, and
    they are still exactly the average of the parents'.
    """
    provenance = release.provenance
    states = aligned_states(release)
    if provenance.operation != "merge" or states is None:
        return
    refitted = provenance.refit is not None
    if provenance.statistics != "reset" and not refitted:
        return
    average = LazyAverage(states, provenance.weights)
    for name in provenance.recomputed:
        in_both = name in release.checkpoint and name in average
        if not in_both or not (refitted or name.rpartition(".")[2] in (_MEAN, _VAR)):
            continue
        if same_bytes(release.checkpoint[name], average[name]):
            yield Problem(name, "is exactly the average of the parents', and was not recomputed")


@check(
    "statistics.fresh",
    "the running statistics are those of the data",
    *("fit", "data"),
    fix=f"{_AGAIN}, or give data of the training distribution",
)
def fresh(release: OpenedRelease, shift: float = 0.5, ratio: float = 2.0) -> Iterator[Problem]:
    """The running statistics are computed again on the data given with ``--data``. In some layer
    the means differ by more than ``shift`` standard deviations, or the variances by more than the
    factor ``ratio`` (each as the median over channels).
    """
    if not has_running_statistics(release.module):
        return
    state = float_state(release.state, "cpu")
    computed = reset_statistics(release.module, state, FullBatches(_data(release)))
    for name in computed:
        if name.rpartition(".")[2] != _MEAN:
            continue
        variance = name.removesuffix(_MEAN) + _VAR
        deviation = computed[variance].double().clamp_min(1e-12).sqrt()
        difference = float(((computed[name] - state[name]).double().abs() / deviation).median())
        logs = (state[variance].double().clamp_min(1e-12).log() - 2 * deviation.log()).abs()
        factor = math.exp(float(logs.median()))
        if difference > shift or factor > ratio:
            yield Problem(
                name,
                f"does not fit the data: means are off by {difference:.2f} standard deviations, "
                f"variances by a factor {factor:.2f} (allowed: {shift:g} and {ratio:g})",
            )


@check(
    "merge.weights",
    "the weights of a merge sum to one",
    "provenance",
    fix="make the release again; do not edit its files by hand",
)
def weights(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded weights of a merge are missing, are not one per parent, or do not sum to one.
    (``parent.bytes`` checks that the tensors are this combination of the aligned parents.)
    """
    provenance = release.provenance
    where = f"{layout.PROVENANCE}: weights"
    if provenance.operation != "merge":
        if provenance.weights is not None:
            yield Problem(where, "an alignment has no weights")
        return
    shares = list(provenance.weights or ())
    if len(shares) != len(provenance.sources) or abs(math.fsum(shares) - 1) > 1e-9:
        yield Problem(where, f"{shares} are not one per parent that sum to one")


@check(
    "merge.dtype",
    "the weights of a merge are in the recorded dtype",
    *("provenance", "weights"),
    fix="make the release again; do not edit its files by hand",
)
def dtype(release: OpenedRelease) -> Iterator[Problem]:
    """The record says which dtype the merge was written in (``--dtype``), and a floating-point
    tensor is in another.
    """
    recorded = release.provenance.dtype
    if recorded is None or release.provenance.operation != "merge":
        return
    for name in release.shapes:
        stored = release.shapes.info(name).dtype
        if stored.is_floating_point and stored != recorded:
            yield Problem(name, f"is {stored}, and the merge was recorded as {recorded}")


@check(
    "merge.barrier",
    "the barrier between the parents is within the bound",
    *("fit", "spec", "provenance", "parents", "data"),
    fix="align before merging, match on more data, or raise the bound on purpose",
)
def barrier(
    release: OpenedRelease, bound: float = 0.5, error_bound: float = 1.0
) -> Iterator[Problem]:
    """On the data given with ``--data``, the loss of the merge exceeds the parents' losses,
    averaged with the weights of the merge, by more than ``bound`` (nats), or its error theirs by
    more than ``error_bound`` (a fraction; 1.0 allows everything).
    """
    provenance = release.provenance
    parents = parents_by_source(release)
    if provenance.operation != "merge" or set(parents) != set(range(len(provenance.sources))):
        return
    batches = _data(release)
    loss, metric = scoring(release.model)

    def scores(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, float]:
        with torch.no_grad():
            result = evaluate(module, float_state(state, "cpu"), batches, loss=loss, metric=metric)
        return {"loss": result.loss, "error": result.error or 0.0}

    merged = scores(release.module, release.state)
    members = [parents[index].member for index in sorted(parents)]
    ends = [scores(member.module, member.state) for member in members]
    for name, allowed in (("loss", bound), ("error", error_bound)):
        values = [end[name] for end in ends]
        shares = zip(provenance.weights or (), values, strict=True)
        height = merged[name] - math.fsum(weight * value for weight, value in shares)
        if not height <= allowed:
            yield Problem(
                f"{name} on {release.request.data}",
                f"barrier {height:.4f}: the merge has {merged[name]:.4f}, its parents "
                f"{', '.join(f'{value:.4f}' for value in values)}; allowed is {allowed:g}",
            )


def _data(release: OpenedRelease) -> Batches:
    assert release.request.data is not None
    return open_for(release.model, release.request.data, release.request.loading)
