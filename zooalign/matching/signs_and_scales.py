"""Signs and scales of pairs of units: which suit a pair best."""

from collections.abc import Sequence
from itertools import product
from math import log

import torch
from torch import Tensor

from zooalign.matching.mapped_responses import Responses
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.classes.maps import UnitMaps
from zooalign.symmetry.groups import Group

__all__ = ["unit_maps", "with_signs"]

# All combinations of so many signs of a unit are tried; of more, one after the other.
_MOST_COMBINED = 6
# A pair of units is not scaled by more than this.
_MOST_SCALE = log(1e3)


def with_signs(
    of: GroupClass, responses: Sequence[Responses], *, either: bool
) -> tuple[Tensor, Tensor]:
    """The similarity of each pair of units with the signs that suit it best, and these signs.

    ``either``: a pair may also be alike up to one more sign, which is not among these.

    Returns
    -------
    Matrices of shape (units, units), and (signs, units, units) of 1 and -1.
    """
    matrices = torch.stack([(r.similarity * r.moments.weight).cpu() for r in responses])
    count = len(of.signs)
    powers = torch.tensor([r.exponents.signs for r in responses]).reshape(len(responses), count)
    powers = (powers % 2).double()

    def total(signs: Tensor) -> Tensor:  # (signs, units, units) of 0 and 1
        flips = torch.einsum("ps,sij->pij", powers, signs) % 2
        return ((1 - 2 * flips) * matrices).sum(0)

    chosen = torch.zeros((count, *matrices.shape[1:]), dtype=torch.float64)
    best = matrices.sum(0)
    combined = count <= _MOST_COMBINED
    tried = product((0.0, 1.0), repeat=count) if combined else [*torch.eye(count).tolist()] * 2
    for combination in tried:
        flips = torch.tensor(combination, dtype=torch.float64)[:, None, None]
        flipped = flips.expand_as(chosen) if combined else (chosen + flips) % 2
        other = total(flipped)
        chosen = torch.where(other > best, flipped, chosen)
        best = torch.maximum(best, other)
    if either and not count:
        best = best.abs()
    return best, 1 - 2 * chosen


def unit_maps(
    group: Group,
    of: GroupClass,
    responses: Sequence[Responses],
    order: Tensor,
    signed: Tensor,
    free: tuple[Sequence[bool], Sequence[bool]],
) -> UnitMaps:
    """Scales and signs of pairs that were made."""
    shape = (*group.contexts, group.size)
    units = torch.arange(len(order))
    signs = signed[:, units, order]
    signs[~torch.tensor(free[1], dtype=torch.bool)] = 1.0
    scales = _scales(of, responses, order)
    scales[~torch.tensor(free[0], dtype=torch.bool)] = 1.0
    return UnitMaps(None, scales.reshape(-1, *shape), signs.reshape(-1, *shape))


def _scales(of: GroupClass, responses: Sequence[Responses], order: Tensor) -> Tensor:
    """Scales under which paired units respond alike in the mean square; (scales, units)."""
    count = len(of.scales)
    ones = torch.ones((count, len(order)), dtype=torch.float64)
    if not count:
        return ones
    squares = [(r.moments.target_square.cpu(), r.moments.source_square.cpu()) for r in responses]
    ratios = torch.stack([(a / b[order]).log() / 2 for a, b in squares])  # (places, units)
    powers = torch.tensor([r.exponents.scales for r in responses], dtype=torch.float64)
    # Where a unit never fires it says nothing.
    heard = ratios.isfinite()
    some = powers * heard.T[..., None]  # (units, places, scales)
    logs = (torch.linalg.pinv(some) @ torch.where(heard, ratios, 0.0).T[..., None])[..., 0].T
    return torch.where(logs.abs() <= _MOST_SCALE, logs, 0.0).exp() * ones
