"""The weight objective: inner products of two models' tensors, each counted by its norms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Scale", "inner", "norm", "tensors_matched", "wide"]

_PIECE = 1 << 20
_POWER = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}


@dataclass(frozen=True)
class Scale:
    """What each tensor's inner product counts.

    Attributes
    ----------
    share:
        Factor of each tensor's inner product.
    bound:
        The largest each scaled inner product can be, under any permutation (Cauchy-Schwarz).
    """

    share: Mapping[str, float]
    bound: Mapping[str, float]

    @classmethod
    def of(cls, kind: str, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> "Scale":
        """The factors for two state dicts of the same names.

        ``kind``: ``plain`` leaves the inner products as they are (the published objective),
        ``balanced`` divides each by the square root of the product of the tensor's two norms, so
        that one large layer does not decide for all, ``cosine`` by the product.

        Raises
        ------
        MergeError
            For another kind, or a tensor that holds a value that is not finite.
        """
        if kind not in _POWER:
            raise MergeError(f"no scale '{kind}'; there are {', '.join(_POWER)}")
        power = _POWER[kind]
        both = {n: norm(n, t) * norm(n, source[n]) for n, t in target.items()}
        share = {n: value**-power if value else 0.0 for n, value in both.items()}
        return cls(share, {n: both[n] * share[n] for n in both})

    @property
    def total(self) -> float:
        """The largest the whole objective can be; 1 where everything is zero."""
        return sum(self.bound.values()) or 1.0

    def value(self, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> float:
        """The scaled inner product of two state dicts, in float64."""
        return sum(inner(t, source[n]) * self.share[n] for n, t in target.items())


def tensors_matched(
    spec: PermutationSpec, target: Mapping[str, Tensor], source: Iterable[str]
) -> list[str]:
    """Names of the tensors that weights are compared in: parameters that a group moves."""
    buffers, there = set(spec.buffers), set(source)
    return [n for n in spec.by_parameter if n in target and n in there and n not in buffers]


def wide(tensor: Tensor) -> Tensor:
    """16-bit values as float32, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def inner(a: Tensor, b: Tensor) -> float:
    """The inner product in float64, without a float64 copy of a whole tensor."""
    pieces = zip(a.reshape(-1).split(_PIECE), b.reshape(-1).split(_PIECE), strict=True)
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces)


def norm(name: str, tensor: Tensor) -> float:
    """The Euclidean norm in float64; MergeError, by name, where a value is not finite."""
    value = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    if not isfinite(value):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return value
