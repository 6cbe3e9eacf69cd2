"""Operators that mix the positions of some axes and leave the others alone: Fourier, distances."""

from typing import TYPE_CHECKING

from zooalign.graph.index_sets import Axis
from zooalign.graph.notation import expression, names
from zooalign.graph.operator import Operator, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.lazy import lazy_module
from zooalign.operators.elementwise import same

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_module("torch")

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
    old = {dim % x.ndim for dim in ([dims] if isinstance(dims, int) else dims)}
    left = names(x.ndim, dict.fromkeys(old, "{}!"))
    right = [f"f{n}!" if n in old else name for n, name in enumerate(left)]
    return op.relate(expression([left], [right]), x, fixed="position")


@rule("aten.stft")
def short_time_fourier(op: Operator) -> Tensor:
    """Along the last axis, in windows."""
    parts = " c!" * (len(op.results[0]) == op["self"].ndim + 2)  # real and imaginary
    return op.relate(f"*n s!, ?w! -> *n f! t!{parts}", op["self"], op["window"])


@rule("aten.cosine_similarity")
def cosine(op: Operator) -> Tensor:
    """The sum of products along one axis, divided by norms along it."""
    x, y = op["x1"], op["x2"]
    count = max(x.ndim, y.ndim)
    axis = op["dim"] % count
    left = [
        names(t.ndim, {axis - count + t.ndim: "[{}]"} if axis - count + t.ndim >= 0 else {})
        for t in (x, y)
    ]
    right = [name for n, name in enumerate(names(count)) if n != axis]
    return op.relate(expression(left, [right]), x, y)


def _together(op: Operator, x: Tensor, y: Tensor) -> tuple[Axis, ...]:
    """The axes of two tensors broadcast against each other inside the operator."""
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    return same(Operator(op.sets, op.name, op.node, op.arguments, [shape]), x, y).axes


@rule("aten.broadcast_tensors")
def broadcast(op: Operator) -> list[Tensor]:
    """Each tensor repeated to the shape of all; it does not vary along new axes."""
    return [
        op.moved([*([()] * (len(shape) - x.ndim)), *x.axes], number)
        for number, (x, shape) in enumerate(zip(op["tensors"], op.results, strict=True))
    ]


@rule(*aten("mse_loss l1_loss smooth_l1_loss huber_loss"))
def loss(op: Operator) -> Tensor:
    """Elementwise; reduced over everything unless asked otherwise."""
    axes = _together(op, op["self"], op["target"])
    return op.moved(axes if len(op.results[0]) == len(axes) else [])
