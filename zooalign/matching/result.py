"""What a matching method returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zooalign.symmetry.permutation import Permutation

__all__ = ["Match"]


@dataclass(frozen=True)
class Match:
    """A permutation that reorders the source's units to match the target's.

    Attributes
    ----------
    permutation:
        To be applied to the source's state dict.
    method:
        The solver's registered name, ``activation`` or ``weight`` among the built-in ones.
    objective_before, objective_after:
        The solver's objective (larger is better) for the identity and for the permutation: the
        mean correlation of paired units for activation matching, the inner product of the
        weights over the product of their norms for weight matching.
    details:
        For a report: samples, sweeps, starts, the spread of the objective over starts, and
        what is proved of the permutation (``gap``, ``distance``, ``certified``, ``exact``; see
        :class:`~zooalign.matching.certificate.Certificate`).
    """

    permutation: Permutation
    method: str
    objective_before: float
    objective_after: float
    details: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def moved_fraction(self) -> float:
        """Share of units that change place."""
        return self.permutation.moved_fraction
