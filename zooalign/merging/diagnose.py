"""Say in a sentence whether there is anything to align between two networks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zooalign.merging.interpolate import check_names, check_tensors

__all__ = ["Diagnosis", "diagnose"]

Kind = Literal["identical", "no_free_group", "aligned", "different"]

# Independently trained networks lie near 0 to 0.3; fine-tunes of one base above 0.9.
_CLOSE = 0.8
# If the permutation that matching gave moves next to nothing, less closeness is enough.
_CLOSE_IF_FIXED = 0.5
_FEW_MOVED = 0.05


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
        Fraction of units the permutation found moves, as given.
    free_groups:
        Number of groups that can be permuted, as given.
    verdict:
        One plain sentence for the user.
    """

    kind: Kind
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
        Fraction of units, in [0, 1], that the permutation found for ``b`` moves; None before
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
    kind: Kind = "different"
    if identical:
        kind = "identical"
    elif free_groups == 0:
        kind = "no_free_group"
    elif aligned:
        kind = "aligned"
    return Diagnosis(
        kind, cosine, moved_fraction, free_groups, _verdict(kind, cosine, moved_fraction)
    )


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
        identical = identical and _equal(x, y)
        if x.is_floating_point():
            u, v = x.double().flatten(), y.double().flatten()
            # Masks hold infinities and are not weights.
            if torch.isfinite(u).all() and torch.isfinite(v).all():
                for slot, value in enumerate((u @ v, u @ u, v @ v)):
                    sums[x.dim() >= 2][slot] += float(value)
    product, norm_a, norm_b = sums[True] if sums[True][1] and sums[True][2] else sums[False]
    return identical, product / math.sqrt(norm_a * norm_b) if norm_a and norm_b else 0.0


def _equal(x: Tensor, y: Tensor) -> bool:
    if not x.is_floating_point():
        return torch.equal(x, y)
    return torch.allclose(x.double(), y.double(), rtol=0.0, atol=0.0, equal_nan=True)


def _verdict(kind: Kind, cosine: float, moved: float | None) -> str:
    fixed = "" if moved is None else f", and the permutation found leaves {1 - moved:.1%} of units"
    fixed += " where they are" if fixed else ""
    if kind == "identical":
        return "The two networks are equal in every value: there is nothing to align or merge."
    if kind == "no_free_group":
        return (
            "No unit of this architecture can be permuted, so there is nothing to align; see the "
            "spec's frozen axes for what holds them."
        )
    if kind == "aligned":
        return (
            f"The two networks are aligned already, as fine-tunes of one base are: their weights "
            f"have cosine {cosine:.3f}{fixed}. Merge them directly."
        )
    if moved is None:
        return (
            f"The two networks differ (cosine of weights {cosine:.3f}): align them before merging."
        )
    if moved <= _FEW_MOVED:
        return (
            f"The two networks differ (cosine of weights {cosine:.3f}), yet the permutation found "
            f"moves only {moved:.1%} of units: the method found no correspondence, or there is "
            "none."
        )
    return (
        f"The two networks differ (cosine of weights {cosine:.3f}), and alignment moves "
        f"{moved:.1%} of units."
    )
