"""Operators that mix the positions of some axes and leave the others alone: Fourier, distances."""

import torch

from zooalign.graph.index_sets import Axis
from zooalign.graph.operator import Operator, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators.elementwise import same

_ONE = [f"aten.fft_{name}" for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")]
_MORE = [f"aten.fft_{name}{n}" for name in ("fft", "ifft", "rfft", "irfft") for n in "2n"]
_SHIFTS = ["aten.fft_fftshift", "aten.fft_ifftshift"]


@rule(*_ONE, *_MORE, *_SHIFTS)
def fourier(op: Operator) -> Tensor:
    """Along some axes, whose positions become frequencies: both are told apart."""
    x: Tensor = op["self"]
    dims = op.get("dim")
    if dims is None:
        sizes = op.get("s")
        dims = range(x.ndim - len(sizes), x.ndim) if sizes else range(x.ndim)
    axes: list[Axis] = list(x.axes)
    for dim in [dims] if isinstance(dims, int) else dims:
        number = dim % x.ndim
        op.sets.fix(axes[number], op.cause("position", "Fourier transform"))
        axes[number] = op.fixed_axis(op.results[0][number], "position", "frequencies")
    return op.tensor(axes)


@rule("aten.stft")
def short_time_fourier(op: Operator) -> Tensor:
    """Along the last axis, in windows."""
    x: Tensor = op["self"]
    cause = op.cause("position", "Fourier transform")
    op.sets.fix(x.axes[-1], cause)
    for window in op.tensors()[1:]:
        op.sets.fix(window.axes[-1], cause)
    new = op.results[0][x.ndim - 1 :]
    return op.tensor([*x.axes[:-1], *(op.fixed_axis(n, "position", "frequencies") for n in new)])


@rule("aten.cosine_similarity")
def cosine(op: Operator) -> Tensor:
    """The sum of products along one axis, divided by norms along it."""
    x, y = op["x1"], op["x2"]
    number = op["dim"] % max(x.ndim, y.ndim)
    axes = _together(op, x, y)
    return op.tensor([axis for n, axis in enumerate(axes) if n != number])


def _together(op: Operator, x: Tensor, y: Tensor) -> tuple[Axis, ...]:
    """The axes of two tensors broadcast against each other inside the operator."""
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    return same(Operator(op.sets, op.name, op.node, op.arguments, [shape]), x, y).axes


@rule("aten.broadcast_tensors")
def broadcast(op: Operator) -> list[Tensor]:
    """Each tensor repeated to the shape of all; it does not vary along new axes."""
    return [
        op.tensor([*([()] * (len(shape) - x.ndim)), *x.axes], number)
        for number, (x, shape) in enumerate(zip(op["tensors"], op.results, strict=True))
    ]


@rule(*aten("mse_loss l1_loss smooth_l1_loss huber_loss"))
def loss(op: Operator) -> Tensor:
    """Elementwise; reduced over everything unless asked otherwise."""
    axes = _together(op, op["self"], op["target"])
    return op.tensor(axes if len(op.results[0]) == len(axes) else [])
