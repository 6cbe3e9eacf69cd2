"""Mean and variance per unit, as values that add (Chan, Golub and LeVeque 1979)."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moments"]


@dataclass(frozen=True)
class Moments:
    """First and second moments of each unit over ``count`` observations.

    Attributes
    ----------
    count:
        Observations per unit.
    mean:
        Mean per unit, float64 on the CPU.
    squares:
        Sum of squared deviations from the mean per unit, float64 on the CPU.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor, axis: int) -> "Moments":
        """Moments over every axis but ``axis``, computed in at least float32.

        ``torch.var_mean`` is numerically stable (Welford), so that float32 suffices within one
        batch; batches are combined in float64.
        """
        wide = values if values.dtype == torch.float64 else values.float()
        rows = wide.movedim(axis, 0).reshape(wide.shape[axis], -1)
        variance, mean = torch.var_mean(rows, dim=1, correction=0)
        count = rows.shape[1]
        return cls(count, mean.cpu().double(), variance.cpu().double() * count)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets of observations together."""
        count = self.count + other.count
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap * gap * (self.count * other.count / count),
        )

    def variance(self, correction: int = 0) -> Tensor:
        """Sum of squares over ``count - correction``: 0 biased, 1 unbiased."""
        return self.squares / (self.count - correction)

    @property
    def std(self) -> Tensor:
        """Biased standard deviation."""
        return self.variance().sqrt()
