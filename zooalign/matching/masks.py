"""Pruning masks: carried through a permutation, and matched as objects of their own.

A mask says of every entry of some tensors whether it was kept. Permuting a network moves its mask
by the same permutation. Two masks can be matched without any weight: the permutation that makes
most kept entries coincide shows whether two networks were pruned alike, up to the order of units.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import State
from zooalign.matching.many import match_stacked
from zooalign.matching.problem import Match
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["MaskOverlap", "apply_mask", "carry_mask", "mask_of", "mask_overlap", "match_masks"]

Mask = Mapping[str, Tensor]


@dataclass(frozen=True)
class MaskOverlap:
    """How far two masks agree.

    ``shared`` is the entries kept by both over those kept by either, ``chance`` what random masks
    that keep as many entries of each tensor have on average, ``kept`` the share each keeps.
    """

    shared: float
    chance: float
    kept: tuple[float, float]


def mask_of(state: State, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Which entries of the named tensors are not zero, as booleans.

    ``names`` defaults to the floating tensors with a zero in them and two axes or more.
    """
    if names is None:
        names = [
            n for n, t in state.items() if t.is_floating_point() and t.ndim > 1 and (t == 0).any()
        ]
    return {name: state[name] != 0 for name in names}


def apply_mask(state: State, mask: Mask) -> dict[str, Tensor]:
    """The state dict with what the mask does not keep set to zero; the given one is left as it is.

    A mask of a tensor that is missing or of another shape raises MergeError.
    """
    for name, kept in mask.items():
        if name not in state or state[name].shape != kept.shape:
            raise MergeError(
                f"the mask of '{name}' has shape {tuple(kept.shape)} and the state dict "
                f"{tuple(state[name].shape) if name in state else 'no such tensor'}: it is of "
                "another architecture"
            )
    return {n: t * mask[n].to(t) if n in mask else t for n, t in state.items()}


def carry_mask(spec: PermutationSpec, permutation: Permutation, mask: Mask) -> dict[str, Tensor]:
    """The mask of the permuted network; SpecError if the three do not belong together."""
    return spec.apply(permutation, mask)


def match_masks(
    spec: PermutationSpec,
    target: Mask | Sequence[Mask],
    source: Mask | Sequence[Mask],
    **options: Any,
) -> Match:
    """The permutation of ``source`` that makes the most kept entries coincide with ``target``'s.

    Weight matching of the masks as numbers 0 and 1, each tensor less its mean (which changes no
    difference between permutations, and makes zero what masks have in common by chance).

    Parameters
    ----------
    target, source:
        Masks, or as many masks of each (levels of pruning), which one permutation is to serve.
        Masks of different tensors raise MergeError.
    options:
        Those of :func:`~zooalign.matching.many.match_stacked` for weights: ``scale``, ``seed``.
    """
    targets, sources = ([m] if isinstance(m, Mapping) else list(m) for m in (target, source))
    for mask in (*targets, *sources):
        if mask.keys() != targets[0].keys():
            unshared = sorted(mask.keys() ^ targets[0].keys())
            raise MergeError(f"the masks are of different tensors: {unshared[:5]}")
    centred = ([_centred(m) for m in masks] for masks in (targets, sources))
    return match_stacked(spec, *centred, method="weight", **options)


def mask_overlap(a: Mask, b: Mask) -> MaskOverlap:
    """How far two masks of the same tensors agree."""
    both = either = chance_both = 0.0
    kept, entries = [0.0, 0.0], 0
    for name in a:
        x, y = a[name].bool(), b[name].bool()
        sizes = float(x.sum()), float(y.sum())
        shared = float((x & y).sum())
        both, either = both + shared, either + sum(sizes) - shared
        chance_both += sizes[0] * sizes[1] / max(x.numel(), 1)
        kept, entries = [k + s for k, s in zip(kept, sizes, strict=True)], entries + x.numel()
    total = sum(kept)
    return MaskOverlap(
        both / either if either else 1.0,
        chance_both / (total - chance_both) if total > chance_both else 1.0,
        (kept[0] / max(entries, 1), kept[1] / max(entries, 1)),
    )


def _centred(mask: Mask) -> dict[str, Tensor]:
    return {name: kept.float() - kept.float().mean() for name, kept in mask.items()}
