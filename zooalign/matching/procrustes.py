"""The best linear map of a source's units onto a target's, from their cross-products.

Rows are units, columns samples: ``cross`` is ``target @ source.T``, of shape (units, units), in
float64. The orthogonal map is Schönemann's solution of the Procrustes problem (1966).
"""

import torch
from torch import Tensor

__all__ = ["balance", "nearest_rotation"]

# Directions in which nothing is seen count as this share of the largest one.
_FLOOR = 1e-12
# By which the vector of ones outweighs all else where it has to stay.
_HELD = 100.0


def nearest_rotation(cross: Tensor, *, fixing_ones: bool = False) -> tuple[Tensor, float]:
    """The orthogonal ``R`` that maximises ``<R, cross>``, and that value.

    ``fixing_ones`` leaves only those that keep the vector of ones.

    Examples
    --------
    >>> source = torch.randn(3, 50, dtype=torch.float64)
    >>> turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    >>> bool(torch.allclose(nearest_rotation(turn @ source @ source.T)[0], turn))
    True
    """
    if fixing_ones:
        n = len(cross)
        mean = torch.full_like(cross, 1 / n)
        centred = torch.eye(n, dtype=cross.dtype, device=cross.device) - mean
        apart = centred @ cross @ centred
        cross = apart + mean * (_HELD * float(apart.norm()) or 1.0)
    u, _, v = torch.linalg.svd(cross)
    rotation = u @ v
    return rotation, float((rotation * cross).sum())


def balance(outward: Tensor, inward: Tensor) -> Tensor:
    """The symmetric ``b`` under which two Gram matrices of one set of units become equal.

    Under an invertible map ``A`` units that are written (``outward``) become ``A x``, what reads
    them (``inward``) ``A^-T y``. ``b @ outward @ b == b^-1 @ inward @ b^-1``, and the same of two
    networks that differ by an invertible map then differs by a rotation: ``b @ b`` is the
    geometric mean of the inverse of ``outward`` and of ``inward``.
    """
    root, inverse = _root(outward), _root(outward, inverse=True)
    return _root(inverse @ _root(root @ inward @ root) @ inverse)


def _root(gram: Tensor, *, inverse: bool = False) -> Tensor:
    """The square root of a positive semidefinite matrix, or the inverse of it."""
    values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    values = values.clamp_min(max(float(values.max()) * _FLOOR, torch.finfo(values.dtype).tiny))
    root: Tensor = (vectors * values ** (-0.5 if inverse else 0.5)) @ vectors.mT
    return root
