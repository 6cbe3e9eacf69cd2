"""Is there anything to align, and did alignment help? Numbers and one plain sentence for each."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from zooalign.graph.lazy_state import pieces
from zooalign.matching.directions import leading_directions
from zooalign.matching.problem import Match
from zooalign.merging.interpolate import check_names, check_tensors
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Diagnosis", "Outcome", "diagnose", "outcome"]

DiagnosisKind = Literal["identical", "no_free_group", "aligned", "different"]
Helped = Literal["yes", "no", "not needed", "recovered"]

# Independently trained networks lie near 0 to 0.3; fine-tunes of one base above 0.9.
_CLOSE = 0.8
# If the permutation that matching gave moves next to nothing, less closeness is enough.
_CLOSE_IF_FIXED = 0.5
_FEW_MOVED = 0.05
# Below this gain, on a scale from -1 to 1, directions line up no better than before.
_GAIN = 0.02


@dataclass(frozen=True)
class Diagnosis:
    """What two networks of one architecture are to each other.

    Attributes
    ----------
    kind:
        ``identical``: equal in every value. ``no_free_group``: the architecture allows no
        permutation. ``aligned``: their units correspond already, as in fine-tunes of one base.
        ``different``: neither.
    cosine:
        Cosine between their weights: all floating tensors of two axes or more together
        (all floating tensors, if none has).
    moved_fraction:
        Fraction of units that the matched permutation moves, as the caller gave it.
    free_groups:
        Number of groups that can be permuted, as the caller gave it.
    verdict:
        One plain sentence for the user.
    """

    kind: DiagnosisKind
    cosine: float
    moved_fraction: float | None
    free_groups: int | None
    verdict: str

    @property
    def nothing_to_align(self) -> bool:
        """Whether alignment cannot, or need not, change anything."""
        return self.kind != "different"


def diagnose(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    moved_fraction: float | None = None,
    free_groups: int | None = None,
) -> Diagnosis:
    """Compare two state dicts before (or after) matching them.

    Parameters
    ----------
    a, b:
        State dicts of one architecture, read tensor by tensor. ``b`` is as it was, not
        permuted.
    moved_fraction:
        Fraction of units, in [0, 1], that the permutation of ``b`` moves; None before
        matching. With it, "aligned" needs at most 5% moved and a cosine of 0.5; without it,
        a cosine of 0.8.
    free_groups:
        Number of groups of the architecture's spec that can be permuted; None if unknown.

    Raises
    ------
    MergeError
        If names, shapes or dtypes differ.
    """
    identical, cosine = _compare(a, b)
    if moved_fraction is None:
        aligned = cosine >= _CLOSE
    else:
        aligned = cosine >= _CLOSE_IF_FIXED and moved_fraction <= _FEW_MOVED
    kind: DiagnosisKind = "aligned" if aligned else "different"
    if identical:
        kind = "identical"
    elif free_groups == 0:
        kind = "no_free_group"
    verdict = _verdict(kind, cosine, moved_fraction)
    return Diagnosis(kind, cosine, moved_fraction, free_groups, verdict)


def _compare(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> tuple[bool, float]:
    """Whether all values are equal, and the cosine between the weights."""
    check_names(a, b, 1)
    identical = True
    sums = {True: [0.0, 0.0, 0.0], False: [0.0, 0.0, 0.0]}  # by whether the tensor is a matrix
    for name in a:
        if name not in b:
            continue
        x, y = a[name].detach().cpu(), b[name].detach().cpu()
        check_tensors(name, x, y, 1)
        if not x.is_floating_point():
            identical = identical and torch.equal(x, y)
            continue
        same, products = _products(x, y, compare=identical)
        identical = identical and same
        # Masks hold infinities and are not weights.
        if all(map(math.isfinite, products)):
            for slot, value in enumerate(products):
                sums[x.dim() >= 2][slot] += value
    product, norm_a, norm_b = sums[True] if sums[True][1] and sums[True][2] else sums[False]
    return identical, product / math.sqrt(norm_a * norm_b) if norm_a and norm_b else 0.0


def _products(x: Tensor, y: Tensor, *, compare: bool) -> tuple[bool, tuple[float, ...]]:
    """Whether values are equal, NaN with NaN, and ``x.y``, ``x.x``, ``y.y`` in float64.

    Values are equal only where it is asked for.
    """
    same, sums = compare, [0.0, 0.0, 0.0]
    for u, v in ((a.double(), b.double()) for a, b in pieces(x, y)):
        same = same and torch.allclose(u, v, rtol=0.0, atol=0.0, equal_nan=True)
        for slot, value in enumerate((u @ v, u @ u, v @ v)):
            sums[slot] += float(value)
    return same, tuple(sums)


def _verdict(kind: DiagnosisKind, cosine: float, moved: float | None) -> str:
    if kind == "identical":
        return "The two networks are equal in every value: there is nothing to align or merge."
    if kind == "no_free_group":
        return (
            "No unit of this architecture can be permuted, so there is nothing to align; see the "
            "spec's frozen axes for what holds them."
        )
    if kind == "aligned":
        fixed = ""
        if moved is not None:
            fixed = f", and the permutation found leaves {1 - moved:.1%} of units where they are"
        return (
            f"The two networks are aligned already, as fine-tunes of one base are: their weights "
            f"have cosine {cosine:.3f}{fixed}. Merge them directly."
        )
    differ = f"The two networks differ (cosine of weights {cosine:.3f})"
    if moved is None:
        return f"{differ}: align them before merging."
    if moved <= _FEW_MOVED:
        return (
            f"{differ}, yet the permutation found moves only {moved:.1%} of units: the method "
            "found no correspondence, or there is none."
        )
    return f"{differ}, and alignment moves {moved:.1%} of units."


@dataclass(frozen=True)
class Outcome:
    """What an alignment did.

    Attributes
    ----------
    helped:
        ``recovered``: the permuted source is the target, bit for bit. ``not needed``: there was
        nothing to align. ``yes`` and ``no``: by the weights alone, whether the leading singular
        directions of the two lie closer together than before.
    objective_before, objective_after:
        The method's objective.
    starts, spread:
        How many searches ran, and how far the worst one's objective is from the best one's.
    directions_before, directions_after:
        Alignment of the leading singular directions, in [-1, 1].
    fixed_points:
        Fraction of units that stay.
    fixed_by_chance:
        Fraction of units that stay under a random permutation, on average.
    verdict:
        One plain sentence.
    """

    helped: Helped
    objective_before: float
    objective_after: float
    starts: int
    spread: float
    directions_before: float
    directions_after: float
    fixed_points: float
    fixed_by_chance: float
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def outcome(
    spec: PermutationSpec,
    match: Match,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    diagnosis: Diagnosis,
) -> Outcome:
    """Judge a match by the weights.

    Equality of permutations is not a score: many near-equivalent ones exist. What decides is what
    the midpoint computes; ``zooalign barrier`` measures it, and this says what to expect.

    Parameters
    ----------
    target, source:
        State dicts on one device; ``source`` as it was, not permuted.
    diagnosis:
        Of the two, with the match's ``moved_fraction``.
    """
    units = sum(group.copies * group.size for group in spec.groups)
    stay_by_chance = sum(group.copies for group in spec.groups) / units if units else 1.0
    directions = leading_directions(spec, match.permutation, target, source)
    if match.element is not None:
        mapped = match.applied(spec, source)
        as_mapped = leading_directions(spec, spec.identity(), target, mapped).before
        directions = replace(directions, after=as_mapped)
    helped: Helped = "yes" if directions.after - directions.before > _GAIN else "no"
    if diagnosis.nothing_to_align:
        helped = "not needed"
    elif match.details.get("exact"):
        helped = "recovered"
    return Outcome(
        helped=helped,
        objective_before=match.objective_before,
        objective_after=match.objective_after,
        starts=int(match.details.get("starts", 1)),
        spread=float(match.details.get("spread", 0.0)),
        directions_before=directions.before,
        directions_after=directions.after,
        fixed_points=1 - match.moved_fraction,
        fixed_by_chance=stay_by_chance,
        verdict=_judgement(helped, directions.before, directions.after, diagnosis),
    )


def _judgement(helped: Helped, before: float, after: float, diagnosis: Diagnosis) -> str:
    moved = f"leading singular directions line up to {after:.2f}, {before:.2f} before"
    if helped == "not needed":
        return "Alignment was not needed. " + diagnosis.verdict
    if helped == "recovered":
        return "The two are one network in two orders: permuted, they are equal in every value."
    if helped == "yes":
        return f"Alignment helped ({moved}). How far, `zooalign barrier` measures on data."
    return (
        f"Alignment did not help by the weights ({moved}): the two may have no units in common. "
        "Measure with `zooalign barrier` before merging them."
    )
