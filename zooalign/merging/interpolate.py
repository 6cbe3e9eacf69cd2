"""Weighted averages of state dicts, tensor by tensor."""

import math
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.dtypes import rounded
from zooalign.graph.lazy_state import StateView, TensorInfo, info_of, pieces

__all__ = [
    "LazyAverage",
    "average",
    "check_names",
    "check_tensors",
    "interpolate",
    "normalised",
    "warn_of_rescaling",
]

# Counts batches seen in training; some published checkpoints lack it, and it bears on no value.
_COUNTER = "num_batches_tracked"


class LazyAverage(StateView):
    """A weighted average of state dicts, one tensor computed at a time, when it is read.

    Nothing is kept: reading a name twice computes it twice. So a merge can be written shard by
    shard with no second copy of a model in memory.

    Floating-point tensors are averaged in float64 (float32 on devices without it) and rounded
    once, to their own dtype. Integer and boolean tensors are the first state's. A weight of
    zero leaves its state's values out, so that infinities there do no harm. Tensors equal in
    every state (tied ones) stay equal.

    Parameters
    ----------
    states:
        State dicts (lazy or not) of the same names, shapes and dtypes. Names and order are
        the first's; only ``num_batches_tracked`` may be missing from some.
    weights:
        One finite number per state; divided by their sum, which must be positive. Equal if
        None.

    Raises
    ------
    MergeError
        If names differ (at once) or shapes or dtypes (when read), or weights are unusable.
    """

    def __init__(
        self, states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None
    ) -> None:
        self._weights = normalised(weights, len(states))
        self._states = tuple(states)
        super().__init__(self._states[0])
        for index, state in enumerate(self._states[1:], start=1):
            check_names(self._states[0], state, index)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights, summing to one."""
        return self._weights

    def __getitem__(self, name: str) -> Tensor:
        first = self._states[0][name]
        if not (first.is_floating_point() or first.is_complex()):
            for index, state in enumerate(self._states[1:], start=1):
                if name in state:
                    check_tensors(name, first, info_of(state, name), index)
            return first.clone()
        terms = []
        for index, (state, weight) in enumerate(zip(self._states, self._weights, strict=True)):
            tensor = first if index == 0 else state[name]
            check_tensors(name, first, tensor, index)
            if weight != 0.0:
                terms.append((tensor.to(first.device), weight))
        return _weighted_sum(name, terms)


def average(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The weighted average of state dicts, in memory. See :class:`LazyAverage`.

    Returns new tensors, of the first state's dtypes and devices.
    """
    return dict(LazyAverage(states, weights))


def interpolate(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """``(1 - alpha) a + alpha b``; exactly a copy of ``a`` at 0 and of ``b`` at 1.

    Integer tensors are ``a``'s at every alpha. Alphas outside of [0, 1] extrapolate.
    See :class:`LazyAverage`.
    """
    return average((a, b), (1.0 - alpha, alpha))


def normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """``count`` weights that sum to one; equal if None.

    Raises
    ------
    MergeError
        If there are none, another number of them, or they are not finite with a positive sum.
    """
    if not count:
        raise MergeError("there is nothing to average: no state dict was given.")
    given = [1.0] * count if weights is None else [float(w) for w in weights]
    if len(given) != count:
        raise MergeError(f"{count} models were given and {len(given)} weights: give one each.")
    total = math.fsum(given)
    if not all(math.isfinite(w) for w in given) or not total > 0:
        raise MergeError(f"weights must be finite with a positive sum, not {given}.")
    # 1 - alpha and alpha need no division, which could only move them by a rounding.
    return tuple(given) if abs(total - 1.0) < 1e-15 else tuple(w / total for w in given)


def warn_of_rescaling(weights: Sequence[float] | None) -> None:
    """Warn where weights look like shares and do not sum to one; whole numbers are a ratio.

    Warns
    -----
    ZooalignWarning
        With the weights that are used.
    """
    if weights is None or all(float(weight).is_integer() for weight in weights):
        return
    total = math.fsum(weights)
    if total > 0 and abs(total - 1.0) > 1e-6:
        used = ", ".join(f"{weight:.4g}" for weight in normalised(weights, len(weights)))
        warnings.warn(
            f"the weights sum to {total:.4g}; they were divided by that: {used}",
            ZooalignWarning,
            stacklevel=3,
        )


def check_names(first: Mapping[str, Tensor], other: Mapping[str, Tensor], index: int) -> None:
    """Raise :class:`MergeError` unless both models have the same names, counters aside."""
    missing = [n for n in first if n not in other and not n.endswith(_COUNTER)]
    extra = [n for n in other if n not in first and not n.endswith(_COUNTER)]
    for names, verb in ((missing, "lacks"), (extra, "alone has")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise MergeError(
                f"model {index} {verb} '{names[0]}'{more}, unlike model 0: they are of different "
                "architectures and cannot be averaged."
            )


def check_tensors(
    name: str, first: Tensor | TensorInfo, other: Tensor | TensorInfo, index: int
) -> None:
    """Raise :class:`MergeError` unless both tensors have one shape and dtype."""
    if other.shape != first.shape:
        raise MergeError(
            f"'{name}' has shape {tuple(other.shape)} in model {index} and "
            f"{tuple(first.shape)} in model 0."
        )
    if other.dtype != first.dtype:
        raise MergeError(
            f"'{name}' is {other.dtype} in model {index} and {first.dtype} in model 0. Convert "
            "one of them first."
        )


def _weighted_sum(name: str, terms: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The sum of tensors times weights, rounded once to their dtype; widened piece by piece."""
    first, precise = terms[0][0], _precise_dtype(terms[0][0])
    result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
    for piece, *parts in pieces(result, *(tensor for tensor, _ in terms)):
        total = parts[0].to(precise, copy=True).mul_(terms[0][1])
        for part, (_, weight) in zip(parts[1:], terms[1:], strict=True):
            total.add_(part.to(precise, copy=True).mul_(weight))
        piece.copy_(rounded(name, total, piece.dtype))
    return result


def _precise_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64
