"""Activations and weights together: one after the other, or in one objective."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from zooalign.errors import MergeError
from zooalign.matching.activation import activation_matching, activation_similarity
from zooalign.matching.assignment import AssignmentSolver, linear
from zooalign.matching.result import Match
from zooalign.matching.weight import weight_matching
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["blended_matching", "refined_matching"]

Progress = Callable[[int], None]


def refined_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    kind: str = "correlation",
    places: str = "activations",
    scale: str = "balanced",
    starts: int = 1,
    restarts: str = "perturb",
    seed: int = 0,
    solver: AssignmentSolver = linear,
    progress: Progress | None = None,
) -> Match:
    """Activation matching, then weight matching from the permutation it found.

    The objective is the weights'; the parameters are those of
    :func:`~zooalign.matching.activation.activation_matching` and
    :func:`~zooalign.matching.weight.weight_matching`.

    Raises
    ------
    DataError, MergeError
        As these two do.
    """
    first = activation_matching(
        spec,
        target,
        source,
        module=module,
        data=data,
        kind=kind,
        places=places,
        solver=solver,
        progress=progress,
    )
    found = weight_matching(
        spec,
        target,
        source,
        starts=starts,
        restarts=restarts,
        seed=seed,
        scale=scale,
        solver=solver,
        initial=first.permutation,
    )
    details = {**found.details, "activation_objective": first.objective_after}
    return replace(found, method="refine", details={**details, "samples": first.details["samples"]})


def blended_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    module: nn.Module,
    data: Iterable[Any],
    blend: float = 0.5,
    kind: str = "correlation",
    places: str = "activations",
    scale: str = "balanced",
    starts: int = 1,
    restarts: str = "perturb",
    seed: int = 0,
    solver: AssignmentSolver = linear,
    progress: Progress | None = None,
) -> Match:
    """One objective of weights and activations, by coordinate descent from the activations' match.

    Parameters
    ----------
    blend:
        The weights' part, in [0, 1]: ``blend`` times the weight objective plus ``1 - blend``
        times the mean similarity of paired units. 0 is activation matching, 1 is ``refine``.
    kind:
        ``correlation`` or ``covariance``; with covariances, which have units, each group's are
        divided by the largest.

    The others are those of :func:`refined_matching`.

    Raises
    ------
    MergeError
        For a blend outside [0, 1], and as for :func:`refined_matching`.
    """
    if not 0 <= blend <= 1:
        raise MergeError(f"blend is {blend}; it is a share of the weights between 0 and 1")
    first, similarity = activation_similarity(
        spec,
        target,
        source,
        module=module,
        data=data,
        kind=kind,
        places=places,
        solver=solver,
        progress=progress,
    )
    details = {"blend": blend, "samples": first.details["samples"]}
    if blend == 0:
        return replace(first, method="blend", details={**first.details, **details})
    if kind == "covariance":
        similarity = {g: m / (abs(m).max() or 1.0) for g, m in similarity.items()}
    units = sum(len(m) for m in similarity.values()) or 1
    found = weight_matching(
        spec,
        target,
        source,
        starts=starts,
        restarts=restarts,
        seed=seed,
        scale=scale,
        solver=solver,
        initial=first.permutation,
        similarity={g: m * ((1 - blend) / blend / units) for g, m in similarity.items()},
    )
    return Match(
        found.permutation,
        "blend",
        blend * found.objective_before,
        blend * found.objective_after,
        {**found.details, **details},
    )
