"""Which rows of the calibration data are read for what, and at which positions of a layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PARTS", "Samples", "Split", "sampled"]

# Of the rows a layer sees: those it is fitted on, and those that judge its ridge.
PARTS = ("fit", "judge")

# One row in five is held out.
_EVERY = 5
# Rows that are read at the same positions.
_TOGETHER = 50


@dataclass(frozen=True)
class Split:
    """Rows by their number in the data: those held out, those that judge a fit, and the others.

    With ``holding``, one row in five is held out for the choice among candidates. Of the others
    one in four or five judges what the rest was fitted on.
    """

    holding: bool

    def part(self, numbers: Tensor, name: str) -> Tensor:
        """Whether each row is in a part: ``held``, ``judge`` or ``fit``."""
        of = numbers % _EVERY
        held = (of == _EVERY - 1) & self.holding
        judge = of == (_EVERY - 2 if self.holding else _EVERY - 1)
        return {"held": held, "judge": judge, "fit": ~held & ~judge, "seen": ~held}[name]

    def held(self, rows: int) -> int:
        """How many of so many rows are held out."""
        return rows // _EVERY if self.holding else 0


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
    split: Split, part: str, batch: int, batches: int, sizes: tuple[int, int], limit: int, seed: int
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
            inside = split.part(rows + number * count, part) & kept
            if inside.any():
                chunks.append((rows[inside], places))
        chosen.append(Samples(batch, tuple(chunks)))
    return chosen
