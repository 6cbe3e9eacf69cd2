"""Several solvers, and the calibration data decides between them.

No single objective is best for all networks: activations are for residual networks with batch
normalisation, weights for small transformers. Each candidate's midpoint is run on the calibration
data, the best is kept, and permutations may be learned from there. ``docs/matching.md`` has the
benchmark this was chosen by.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.matching.activation import activation_similarity
from zooalign.matching.assignment import AssignmentSolver, linear
from zooalign.matching.certificate import certify
from zooalign.matching.frank_wolfe import frank_wolfe_matching
from zooalign.matching.learned import learned_matching
from zooalign.matching.midpoint import Midpoint
from zooalign.matching.result import Match
from zooalign.matching.rows import Criterion, Rows
from zooalign.matching.weight import weight_matching
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["CANDIDATES", "auto_matching"]

CANDIDATES = ("activation", "covariance", "blend", "weight", "frank-wolfe", "identity")


def auto_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    learn: bool = False,
    criterion: Criterion | None = None,
    labels: bool | None = None,
    starts: int = 5,
    batch: int = 128,
    seed: int = 0,
    solver: AssignmentSolver = linear,
    progress: Callable[[int], None] | None = None,
    **learning: Any,
) -> Match:
    """The candidate whose midpoint has the least loss on the calibration data.

    Candidates are activation matching by correlation and by covariance, the even blend with
    weights, weight matching, Frank-Wolfe, and the source as it is: networks that were trained from
    one base are often in one order already. One that is certified
    (:mod:`zooalign.matching.certificate`) is taken whatever its loss.

    Parameters
    ----------
    spec, target, source, module:
        As for :func:`~zooalign.matching.activation.activation_matching`.
    data:
        Batches of (inputs, targets), or of inputs; read several times and held in memory. Where
        midpoints cannot be judged on them (rows of different shapes, outputs that are no logits),
        there is a warning, and activation matching is taken.
    learn:
        Go on from the best with :func:`~zooalign.matching.learned.learned_matching`, which takes
        many runs of the network; other options are passed to it.
    criterion, labels, batch:
        As for learned matching: what the midpoint is judged by, and rows of one run.
    starts:
        Of weight matching.

    Returns
    -------
    Match
        The objective is minus the midpoint's loss. ``details`` has every candidate's under
        ``loss_of_NAME``, and under ``judged`` whether there were any.

    Raises
    ------
    DataError, MergeError
        As the candidates do.
    """
    if learning and not learn:
        raise MergeError(
            f"'{min(learning)}' is an option of one method: name it (method=...), or give "
            "learn=True for those of learning"
        )
    data = list(data) if isinstance(data, Iterator) else data

    def seen(kind: str) -> tuple[Match, Mapping[str, Any]]:
        return activation_similarity(
            spec, target, source, module=module, data=data, kind=kind, solver=solver
        )

    correlated, similarity = seen("correlation")
    everything = torch.empty(0)
    try:
        device = next((t.device for t in target.values()), torch.device("cpu"))
        rows = Rows.read(data, device)
        everything = torch.arange(rows.count)
        midpoint = Midpoint(spec, target, source, module, rows, criterion, labels, solver)
        before = midpoint.held_out(spec.identity(), everything, batch)
        if not isfinite(before):
            raise DataError("the loss between the networks is not finite")
    except DataError as error:
        if learn or labels or criterion is not None:
            raise
        warnings.warn(
            f"nothing to judge permutations by ({error}): activation matching was taken",
            ZooalignWarning,
            stacklevel=2,
        )
        return replace(correlated, method="auto", details={**correlated.details, "judged": 0.0})
    units = sum(len(m) for m in similarity.values()) or 1
    weights: dict[str, Any] = {"seed": seed, "solver": solver}
    found = {
        "activation": correlated,
        "covariance": seen("covariance")[0],
        "blend": weight_matching(
            spec,
            target,
            source,
            initial=correlated.permutation,
            similarity={g: m / units for g, m in similarity.items()},
            **weights,
        ),
        "weight": weight_matching(spec, target, source, starts=starts, **weights),
        "frank-wolfe": frank_wolfe_matching(spec, target, source, **weights),
        "identity": replace(correlated, permutation=spec.identity()),
    }
    losses = {}
    for number, (name, one) in enumerate(found.items()):
        loss = midpoint.held_out(one.permutation, everything, batch)
        if isfinite(loss):
            losses[name] = loss
        if progress is not None:
            progress(number + 1)
    # Where weights agree as far as any permutation can make them, data has no say.
    proved = [n for n in losses if certify(spec, found[n].permutation, target, source).optimal]
    best = min(proved or losses, key=lambda name: losses[name])
    permutation = found[best].permutation
    details = {f"loss_of_{name}": value for name, value in losses.items()}
    details |= {"best_candidate": CANDIDATES.index(best), "samples": rows.count}
    details |= {"labelled": float(midpoint.labelled), "judged": 1.0}
    after = losses[best]
    if learn:
        learned = learned_matching(
            spec,
            target,
            source,
            module=module,
            data=data,
            criterion=criterion,
            labels=labels,
            batch=batch,
            seed=seed,
            solver=solver,
            initial=permutation,
            progress=progress,
            **learning,
        )
        permutation = learned.permutation
        after = midpoint.held_out(permutation, everything, batch)
        details |= {f"learned_{name}": value for name, value in learned.details.items()}
    return replace(correlated, permutation=permutation, method="auto", objective_before=-before,
                   objective_after=-after, details=details)  # fmt: skip
