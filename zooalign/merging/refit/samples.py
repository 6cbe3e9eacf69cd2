"""Which rows of the calibration data are read for what, and at which positions of a layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PARTS", "Samples", "Split", "part_of", "sampled"]

# Rows by their number in the data: of five the first three, the fourth and the last.
PARTS = ("most", "fourth", "last")
_EVERY = 5
# Rows that are read at the same positions.
_TOGETHER = 50


def part_of(numbers: Tensor, part: str) -> Tensor:
    """Whether rows of these numbers are in a part."""
    place = numbers % _EVERY - (_EVERY - len(PARTS))
    return place.clamp(min=0) == PARTS.index(part)


@dataclass(frozen=True)
class Split:
    """What rows are used for.

    With ``holding`` the last row of five is held out, for the choice among candidates, and the
    fourth judges what the others were fitted on. Without, the last one judges.
    """

    holding: bool

    @property
    def fitted(self) -> tuple[str, ...]:
        """Parts that a layer is fitted on while its ridge is judged by another."""
        return PARTS[:1] if self.holding else PARTS[:2]

    @property
    def judging(self) -> str:
        """The part that judges a layer's ridge, and is fitted on afterwards."""
        return PARTS[1] if self.holding else PARTS[2]

    def seen(self, numbers: Tensor) -> Tensor:
        """Whether rows are not held out."""
        return ~part_of(numbers, PARTS[2]) if self.holding else torch.ones_like(numbers).bool()

    def held(self, rows: int) -> int:
        """How many of so many rows are held out."""
        return rows - int(self.seen(torch.arange(rows)).sum())


@dataclass(frozen=True)
class Samples:
    """Positions of one batch at which a layer is read: per chunk the samples, and positions."""

    batch: int
    chunks: tuple[tuple[Tensor, Tensor], ...]

    def of(self, values: Tensor) -> Tensor:
        """The rows (samples x positions, ...) of values (samples, positions, ...)."""
        if not self.chunks:
            return values[:0].flatten(0, 1)
        device = values.device
        parts = [values[s.to(device)][:, p.to(device)].flatten(0, 1) for s, p in self.chunks]
        return torch.cat(parts)


def sampled(
    part: str, batch: int, batches: int, sizes: tuple[int, int], limit: int, seed: int
) -> list[Samples]:
    """For each batch of ``batch`` rows the positions of one part, at most ``limit`` over all.

    ``sizes`` are the samples in a batch and the positions in each.
    """
    generator = torch.Generator().manual_seed(seed)
    count, positions = sizes
    everything = count * batches
    each = max(1, min(positions, limit // everything))
    share = min(1.0, limit / everything)
    chosen = []
    for number in range(batches):
        chunks = []
        for rows in torch.arange(count).split(_TOGETHER):
            places = torch.randperm(positions, generator=generator)[:each]
            kept = torch.rand(len(rows), generator=generator) < share
            inside = part_of(rows + number * count, part) & kept
            if inside.any():
                chunks.append((rows[inside], places))
        chosen.append(Samples(batch, tuple(chunks)))
    return chosen
