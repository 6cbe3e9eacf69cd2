"""Do the leading singular directions of two models' weights line up?

Weight matching hardly lowers the distance between the weights of independent networks; what it
does line up are the singular directions of the large singular values, and it is these that make
the midpoint work (Ito et al., arXiv 2402.04051).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zooalign.matching.weight import as_float32, tensors_matched
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Directions", "LowRank", "leading", "leading_directions"]

_ROUNDS = 6
_MORE = 4  # columns beside the wanted ones: they make the iteration converge


@dataclass(frozen=True)
class Directions:
    """How well leading singular directions line up: in [-1, 1], 0 for unrelated matrices.

    For one matrix it is ``sum_ij s_i t_j (u_i . w_j)(v_i . z_j)`` over the leading singular
    triples (s, u, v) of the target and (t, w, z) of the source, divided by the norms of s and t;
    ``before`` and ``after`` permuting are means over the weight matrices that a group moves.
    """

    before: float
    after: float
    matrices: int


def leading_directions(
    spec: PermutationSpec,
    permutation: Permutation,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    rank: int = 4,
) -> Directions:
    """Compare ``rank`` leading directions of every matrix, before and after permuting the source.

    Real tensors of two axes or more are matrices of shape (first axis, all others).
    """
    before, after = [], []
    for name in tensors_matched(spec, target, source):
        a, b = target[name], source[name]
        if a.is_complex() or a.ndim < 2 or min(a.shape[0], a.numel() // max(a.shape[0], 1)) < 2:
            continue
        left, right = leading(a, rank), leading(b, rank)
        size = (left.inner(left) * right.inner(right)) ** 0.5
        if size > 0:
            before.append(left.inner(right) / size)
            whole = right.whole.reshape(b.shape)
            moved = spec.apply_to_tensor(permutation, name, whole)
            product = left.inner_with(moved.flatten(1)) if moved is not whole else None
            after.append(before[-1] if product is None else product / size)
            del whole, moved
    count = len(before)
    return Directions(sum(before) / (count or 1), sum(after) / (count or 1), count)


@dataclass(frozen=True)
class LowRank:
    """A matrix ``columns @ rows`` of low rank."""

    columns: Tensor
    rows: Tensor

    @property
    def whole(self) -> Tensor:
        """The matrix itself."""
        return self.columns @ self.rows

    def inner(self, other: "LowRank") -> float:
        """The inner product with another, without either in memory."""
        wider = torch.promote_types(self.columns.dtype, other.columns.dtype)
        columns = self.columns.T.to(wider) @ other.columns.to(wider)
        rows = self.rows.to(wider) @ other.rows.T.to(wider)
        return float((columns * rows).sum(dtype=torch.float64))

    def inner_with(self, matrix: Tensor) -> float:
        """The inner product with a matrix, without this one in memory."""
        return float(((self.columns.T.to(matrix) @ matrix) * self.rows).sum(dtype=torch.float64))


def leading(tensor: Tensor, rank: int) -> LowRank:
    """The best approximation by a lower rank of a tensor, as a matrix (first axis, all others).

    By subspace iteration from a fixed start; deterministic, and no global generator is used.
    """
    matrix = as_float32(tensor).reshape(tensor.shape[0], -1)
    columns = min(rank + _MORE, *matrix.shape)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], columns, generator=generator)
    basis = matrix @ start.to(matrix)
    for _ in range(_ROUNDS):
        basis, _ = torch.linalg.qr(basis)
        basis = matrix @ (matrix.T @ basis)
    basis, _ = torch.linalg.qr(basis)
    u, s, v = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    kept = slice(0, min(rank, columns))
    return LowRank((basis @ u[:, kept]) * s[kept], v[kept])
