"""Proof that no permutation is better, where there is one.

The inner product of two tensors is at most the product of their norms (Cauchy-Schwarz), and a
permutation changes no norm. So the weight objective has an upper bound that needs no search. It is
reached exactly where every tensor of the target is a positive multiple of the permuted source's: a
match that reaches it is a global optimum, whatever the method. Where target and permuted
source are equal bit for bit, the planted (or lost) permutation is recovered up to symmetries of
the weights themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zooalign.graph.lazy_state import pieces
from zooalign.matching.weight import REACHED, Scale, as_float32, norm_of, tensors_matched
from zooalign.symmetry.classes.elements import Element, Mapped, SpecClasses
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted

__all__ = ["Certificate", "certify"]


@dataclass(frozen=True)
class Certificate:
    """What can be proved of a permutation.

    ``gap`` is how far the inner product of the weights, over its upper bound, is from 1 (the global
    optimum's is less or equal; of independent networks it is large and proves nothing).
    ``distance`` is the norm of target minus permuted source over the target's, and ``exact`` says
    whether they are equal bit for bit, running statistics included. Of an element that does more
    than permute (not ``permutes``) the bound proves nothing, and they are of the source under it.
    """

    gap: float
    distance: float
    exact: bool
    permutes: bool = True

    @property
    def optimal(self) -> bool:
        """Whether no permutation has a larger inner product, by the bound."""
        return self.exact or (self.permutes and self.gap <= REACHED)

    def details(self) -> dict[str, float]:
        """As numbers for a report (``certified`` and ``exact`` are 0 or 1)."""
        proved = {"certified": float(self.optimal), "exact": float(self.exact)}
        return {"gap": self.gap, "distance": self.distance, **proved}


def certify(
    spec: PermutationSpec,
    permutation: Permutation,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    scale: str = "balanced",
    element: Element | None = None,
) -> Certificate:
    """Say what is proved of a permutation of ``source`` as a match for ``target``.

    A certificate is sufficient, not necessary: without one, a match may still be the best there
    is. ``scale`` is as for weight matching, and does not bear on ``exact`` and ``distance``. A
    value that is not finite raises MergeError. With an ``element`` it is that which is applied.
    """
    moved: Mapping[str, Tensor] = Permuted(spec, permutation, source)
    if element is not None:
        moved = Mapped(SpecClasses.of(spec, element.symmetries), element, source)
    product = bound = away = size = 0.0
    for name in tensors_matched(spec, target, source):
        left = target[name]
        sums = _sums(left, moved[name])
        counted = Scale.of_norms(scale, {name: (norm_of(name, sums[1]), norm_of(name, sums[2]))})
        product += sums[0] * counted.share[name]
        bound += counted.bound[name]
        away += sums[3]
        size += sums[1]
    exact = all(
        _equal(target[n], moved[n]) for n in spec.by_parameter if n in target and n in source
    )
    return Certificate(
        gap=1 - product / bound if bound else 0.0,
        distance=(away / size) ** 0.5 if size else 0.0,
        exact=exact,
        permutes=element is None,
    )


def _sums(left: Tensor, right: Tensor) -> tuple[float, float, float, float]:
    """The inner product of two tensors, and the squared norms of both and their difference."""
    sums = [0.0, 0.0, 0.0, 0.0]
    for a, b in ((x.double(), y.double()) for x, y in pieces(left, right)):
        away = a - b
        products = torch.dot(a, b), torch.dot(a, a), torch.dot(b, b), torch.dot(away, away)
        for slot, value in enumerate(products):
            sums[slot] += float(value)
    return sums[0], sums[1], sums[2], sums[3]


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether all values are equal; 8-bit floats have no ``torch.equal``."""
    return all(torch.equal(as_float32(x), as_float32(y)) for x, y in pieces(a, b))
