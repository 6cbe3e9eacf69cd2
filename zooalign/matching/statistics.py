"""Cross-statistics of two models' units, as values that add.

Statistics of two parts of the data, computed anywhere, combine by ``+`` to the statistics of the
whole, up to the rounding of float64 sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["KINDS", "Moments", "Similarities", "Statistics"]

# What similarities of units can be.
KINDS = ("correlation", "covariance")


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments of target and source units at one place, in float64.

    Sums over the samples (batch, positions and repetitions together), of shape (units,), and of
    shape (target units, source units) for ``cross``; ``weight`` is what the place counts.
    """

    count: int
    target: Tensor
    source: Tensor
    target_square: Tensor
    source_square: Tensor
    cross: Tensor
    weight: float = 1.0

    @classmethod
    def of(cls, target: Tensor, source: Tensor, weight: float = 1.0) -> "Moments":
        """Moments of two matrices of shape (units, samples), of any floating dtype."""
        a, b = target.double(), source.double()
        squares = (a.square().sum(1), b.square().sum(1))
        return cls(a.shape[1], a.sum(1), b.sum(1), *squares, a @ b.T, weight)

    def __add__(self, other: "Moments") -> "Moments":
        names = (f.name for f in fields(self) if f.name != "weight")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return replace(self, **sums)

    def covariance(self) -> Tensor:
        """Covariance of every target unit with every source unit."""
        n = self.count
        return self.cross / n - torch.outer(self.target / n, self.source / n)

    def correlation(self) -> Tensor:
        """Pearson correlation; zero for a unit that does not vary."""
        n = self.count
        spread = []
        for total, square in (
            (self.target, self.target_square),
            (self.source, self.source_square),
        ):
            variance = square / n - (total / n).square()
            # Below the rounding of the sums a unit counts as constant.
            constant = variance <= 1e-12 * (square / n)
            spread.append(torch.where(constant, torch.inf, variance.clamp_min(1e-300).sqrt()))
        return self.covariance() / torch.outer(*spread)


@dataclass(frozen=True, eq=False)
class Similarities:
    """Per group the similarity of units, (units, units), float64, summed over ``places``.

    ``weights`` says what the places of a group count together, ``samples`` counts rows of the data.
    """

    matrices: Mapping[str, Tensor]
    weights: Mapping[str, float]
    places: int = 0
    samples: int = 0

    def with_place(self, group: str, moments: Moments, kind: str) -> "Similarities":
        """With one more place where units of a group are seen."""
        more = moments.correlation() if kind == "correlation" else moments.covariance()
        more *= moments.weight
        before = self.matrices.get(group)
        return replace(
            self,
            matrices={**self.matrices, group: more if before is None else before + more},
            weights={**self.weights, group: self.weights.get(group, 0.0) + moments.weight},
            places=self.places + 1,
        )


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments by (group, place); ``samples`` counts rows of the data."""

    moments: Mapping[tuple[str, str], Moments]
    samples: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "moments", MappingProxyType(dict(self.moments)))

    def __add__(self, other: "Statistics") -> "Statistics":
        merged = dict(self.moments)
        for key, value in other.moments.items():
            merged[key] = merged[key] + value if key in merged else value
        return Statistics(merged, self.samples + other.samples)

    def similarities(self, kind: str = "correlation") -> Similarities:
        """The similarities of all groups that were seen."""
        sums = Similarities({}, {}, samples=self.samples)
        for (group, _), moments in self.moments.items():
            sums = sums.with_place(group, moments, kind)
        return sums

    def similarity(self, kind: str = "correlation") -> dict[str, Tensor]:
        """Per group the similarity of units summed over all places, (units, units), float64."""
        return dict(self.similarities(kind).matrices)

    @property
    def units(self) -> float:
        """Number of units of all groups that were seen."""
        sizes = {group: len(moments.target) for (group, _), moments in self.moments.items()}
        return float(sum(sizes.values()))

    def places(self, group: str) -> float:
        """At how many places the group was seen, by their weight."""
        return sum(m.weight for (name, _), m in self.moments.items() if name == group)
