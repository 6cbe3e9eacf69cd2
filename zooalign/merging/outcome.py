"""Did alignment help? The numbers that any alignment is reported with, and a plain sentence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from zooalign.matching.directions import leading_directions
from zooalign.matching.result import Match
from zooalign.merging.diagnose import Diagnosis
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Outcome", "outcome"]

Helped = Literal["yes", "no", "not needed", "recovered"]

# Below this gain, on a scale from -1 to 1, directions line up no better than before.
_GAIN = 0.02


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
        The method's own.
    starts, spread:
        How many searches were made, and how far the worst one's objective is from the best one's.
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
    chance = sum(group.copies for group in spec.groups) / units if units else 1.0
    directions = leading_directions(spec, match.permutation, target, source)
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
        fixed_by_chance=chance,
        verdict=_verdict(helped, directions.before, directions.after, diagnosis),
    )


def _verdict(helped: Helped, before: float, after: float, diagnosis: Diagnosis) -> str:
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
