"""What a layer's rows and targets leave for least squares: sums, which add over batches."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

__all__ = ["Sums"]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows, in float64, for each of g groups with i inputs and o outputs.

    Attributes
    ----------
    count:
        Rows, weighted.
    gram, cross, squares:
        Of products of inputs (g, i, i), of inputs with targets (g, i, o), of targets with
        themselves (g, o).
    inputs, targets:
        Of inputs (g, i) and of targets (g, o).
    width:
        How many inputs there are, where those given are coordinates in a space of less.
    """

    count: Tensor
    gram: Tensor
    cross: Tensor
    squares: Tensor
    inputs: Tensor
    targets: Tensor
    width: int

    @classmethod
    def of(
        cls, rows: Tensor, targets: Tensor, weight: float = 1.0, width: int | None = None
    ) -> "Sums":
        """Of rows (n, g, i) and targets (n, g, o)."""
        x, y = (t.double().transpose(0, 1) for t in (rows, targets))
        turned = x.transpose(1, 2)
        return cls(
            torch.tensor(weight * len(rows), dtype=torch.float64),
            weight * (turned @ x),
            weight * (turned @ y),
            weight * (y * y).sum(1),
            weight * x.sum(1),
            weight * y.sum(1),
            rows.shape[2] if width is None else width,
        )

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both sets of rows."""
        names = [f.name for f in fields(self) if f.name != "width"]
        return replace(self, **{n: getattr(self, n) + getattr(other, n) for n in names})

    def centred(self) -> "Sums":
        """The sums of the deviations from the means."""
        x, y = self.inputs / self.count, self.targets / self.count
        return Sums(
            self.count,
            self.gram - self.inputs[:, :, None] * x[:, None, :],
            self.cross - self.inputs[:, :, None] * y[:, None, :],
            (self.squares - self.targets * y).clamp(min=0),
            torch.zeros_like(self.inputs),
            torch.zeros_like(self.targets),
            self.width,
        )

    @property
    def scale(self) -> float:
        """The mean variance of an input, times the number of rows; of what ridge is a share."""
        variances = self.gram.diagonal(dim1=1, dim2=2) - self.inputs**2 / self.count
        return max(float(variances.sum()) / (len(variances) * self.width), 1e-12)
