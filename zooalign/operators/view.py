"""Operators that give the same values another layout: reshape, permute, expand, flip."""

from collections.abc import Sequence
from math import prod

from zooalign.graph.index_sets import LIMIT, Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators.join import joined, part

__all__ = ["reshaped"]

_REVERSED = "units in reversed order, which might move in pairs"


@rule(
    *aten("view reshape _unsafe_view flatten unflatten view_as reshape_as _reshape_alias"),
    roles="copy",
)
def reshape(op: Operator) -> Tensor:
    """Row-major positions do not change; axes become products or factors of each other."""
    op.only_form("other")
    x: Tensor = op["self"]
    return op.moved(reshaped(op, x, op.results[0]))


def reshaped(op: Operator, x: Tensor, shape: Sequence[int]) -> list[Axis]:
    """The axes of ``x`` in another shape with as many positions."""
    if prod(shape) != prod(x.shape):
        raise ValueError(f"{tuple(shape)} has not as many positions as {x.shape}")
    if 0 in shape:
        return [op.fixed_axis(n, "empty") for n in shape]
    axes: list[Axis] = []
    read = 0
    while len(axes) < len(shape):
        # The fewest old and new axes that hold as many positions: the rest is independent.
        start, count_old, count_new = read, 1, 1
        sizes: list[int] = []
        while not sizes or count_old != count_new:
            if not sizes or count_new < count_old:
                sizes.append(shape[len(axes) + len(sizes)])
                count_new *= sizes[-1]
            else:
                count_old *= x.shape[read]
                read += 1
        if len(sizes) == 1 and read - start == 1:
            axes.append(x.axes[start])
        else:
            axes.extend(_regroup(op, x, range(start, read), sizes))
    return axes


def _regroup(op: Operator, x: Tensor, old: range, sizes: list[int]) -> list[Axis]:
    if not any(x.axes[number] for number in old):
        return [()] * len(sizes)  # varies along none of them
    whole: Axis = ()
    for number in old:
        whole += op.varying(x, number)
    parts: list[Axis] = []
    for size in reversed(sizes[1:]):
        whole, inner = op.sets.factor(whole, size)
        parts.insert(0, inner)
    return [whole, *parts]


@rule("aten.permute", roles="copy")
def permute(op: Operator) -> Tensor:
    """Axes in another order."""
    x = op["self"]
    return op.moved([x.axes[d] for d in op["dims"]])


@rule("aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.transpose_copy", roles="copy")
def transpose(op: Operator) -> Tensor:
    """Two axes change places."""
    x: Tensor = op["self"]
    first = op.get("dim0", op.get("axis0"))
    second = op.get("dim1", op.get("axis1"))
    axes = list(x.axes)
    axes[first], axes[second] = axes[second], axes[first]
    return op.moved(axes)


@rule("aten.t", "aten.numpy_T", "aten.mT", "aten.adjoint", roles="copy")
def turn(op: Operator) -> Tensor:
    """The last two axes change places."""
    x: Tensor = op["self"]
    if op.name.startswith("aten.numpy_T") or x.ndim < 2:
        return op.moved(x.axes[::-1])
    return op.moved([*x.axes[:-2], x.axes[-1], x.axes[-2]])


@rule("aten.movedim", "aten.moveaxis", roles="copy")
def movedim(op: Operator) -> Tensor:
    """Axes move to named places."""
    x: Tensor = op["self"]
    source, target = op["source"], op["destination"]
    source = [source] if isinstance(source, int) else list(source)
    target = [target] if isinstance(target, int) else list(target)
    order: list[int | None] = [None] * x.ndim
    for s, t in zip(source, target, strict=True):
        order[t % x.ndim] = s % x.ndim
    rest = iter(n for n in range(x.ndim) if n not in {s % x.ndim for s in source})
    return op.moved([x.axes[next(rest) if n is None else n] for n in order])


@rule("aten.squeeze", "aten.unsqueeze", roles="copy")
def squeeze(op: Operator) -> Tensor:
    """Axes of one position are added or removed; the others keep their order."""
    x: Tensor = op["self"]
    kept = iter([axis for axis, size in zip(x.axes, x.shape, strict=True) if size != 1])
    return op.moved([next(kept) if size != 1 else () for size in op.results[0]])


@rule("aten.expand", "aten.expand_as", "aten.broadcast_to", roles="copy")
def expand(op: Operator) -> Tensor:
    """The result does not vary along the axes that are expanded."""
    op.only_form("other")
    x: Tensor = op["self"]
    lead = len(op.results[0]) - x.ndim
    return op.moved([*([()] * lead), *x.axes])


@rule("aten.repeat", "aten.tile", roles="copy")
def repeat(op: Operator) -> Tensor:
    """Each axis becomes (copies, axis); the copies are alike."""
    x: Tensor = op["self"]
    shape = op.results[0]
    lead = len(shape) - x.ndim
    axes: list[Axis] = [()] * lead
    for number, size in enumerate(x.shape):
        copies = shape[lead + number] // size
        axis = x.axes[number]
        if copies > 1 and axis:
            axis = (op.sets.new(copies), *axis)
        axes.append(axis)
    return op.moved(axes)


@rule("aten.repeat_interleave.self_int", roles="copy")
def repeat_interleave(op: Operator) -> Result:
    """The axis becomes (axis, copies)."""
    x: Tensor = op["self"]
    if op["dim"] is None:
        return op.freeze(LIMIT, "repeat_interleave over a flattened tensor")
    number = op["dim"] % x.ndim
    axes = list(x.axes)
    if axes[number] and op["repeats"] > 1:
        axes[number] = (*axes[number], op.sets.new(op["repeats"]))
    return op.moved(axes)


@rule("aten.flip", roles="copy")
def flip(op: Operator) -> Tensor:
    """Position i becomes position n - 1 - i.

    An axis of single positions is put together anew. Any other is frozen. That is not a fact about
    the network, as units might move there in reversed order, but index sets are row-major; so it is
    reported as a limit of the rules.
    """
    x: Tensor = op["self"]
    axes = list(x.axes)
    for number in {d % x.ndim for d in op["dims"]}:
        if op.sets.singles(axes[number]):
            axes = _reversed(op, Tensor(x.shape, tuple(axes)), number)
        else:
            op.sets.fix(axes[number], op.cause(LIMIT, _REVERSED))
            op.apart(Tensor(x.shape, tuple(axes)), number)
    return op.moved(axes)


def _reversed(op: Operator, x: Tensor, number: int) -> list[Axis]:
    shape = (*x.shape[:number], 1, *x.shape[number + 1 :])
    places = reversed(range(x.shape[number]))
    parts = [Tensor(shape, tuple(part(op, x, number, n, n + 1))) for n in places]
    return joined(op, parts, number)


@rule("aten.fliplr", "aten.flipud", "aten.rot90")
def flip_or_rotate(op: Operator) -> Result:
    """No rule yet: every axis is frozen."""
    return op.freeze(LIMIT, _REVERSED)


@rule("aten.pixel_shuffle", roles="copy")
def pixel_shuffle(op: Operator) -> Tensor:
    """``n (c r1 r2) h w -> n c (h r1) (w r2)``, r fixed."""
    x: Tensor = op["self"]
    r = op["upscale_factor"]
    channels, r2 = op.sets.factor(op.varying(x, -3 % x.ndim), r)
    channels, r1 = op.sets.factor(channels, r)
    h, w = x.axes[-2], x.axes[-1]
    return op.moved([*x.axes[:-3], channels, (*h, *r1), (*w, *r2)])


@rule("aten.pixel_unshuffle", roles="copy")
def pixel_unshuffle(op: Operator) -> Tensor:
    """``n c (h r1) (w r2) -> n (c r1 r2) h w``."""
    x: Tensor = op["self"]
    r = op["downscale_factor"]
    h, r1 = op.sets.factor(op.varying(x, x.ndim - 2), r)
    w, r2 = op.sets.factor(op.varying(x, x.ndim - 1), r)
    return op.moved([*x.axes[:-3], (*op.varying(x, x.ndim - 3), *r1, *r2), h, w])


@rule("aten.channel_shuffle", "aten.native_channel_shuffle", roles="copy")
def channel_shuffle(op: Operator) -> Tensor:
    """``n (g c) ... -> n (c g) ...``: only another order."""
    x: Tensor = op["self"]
    groups, channels = op.sets.factor(op.varying(x, 1), x.shape[1] // op["groups"])
    return op.moved([x.axes[0], (*channels, *groups), *x.axes[2:]])


@rule("aten.unfold", roles="copy")
def unfold(op: Operator) -> Tensor:
    """Sliding windows along one axis tell its positions apart."""
    x: Tensor = op["self"]
    number = op["dimension"] % x.ndim
    axes = list(x.axes)
    shape = op.results[0]
    step, size = op["step"], op["size"]
    if step == size and x.shape[number] % size == 0:
        outer, inner = op.sets.factor(op.varying(x, number), size)
        axes[number] = outer
        return op.moved([*axes, inner])
    op.sets.fix(axes[number], op.cause("kernel position", "sliding windows"))
    op.apart(x, number)
    axes[number] = op.fixed_axis(shape[number], "kernel position")
    return op.moved([*axes, op.fixed_axis(shape[-1], "kernel position")])


@rule("aten.view_as_complex")
def as_complex(op: Operator) -> Tensor:
    """The last axis has two positions: the real and the imaginary part."""
    return op.relate("*n r! -> *n", op["self"])


@rule("aten.view_as_real")
def as_real(op: Operator) -> Tensor:
    """The real and the imaginary part along a new axis."""
    return op.relate("*n -> *n r!", op["self"])


@rule("aten.as_strided")
def as_strided(op: Operator) -> Result:
    """Only where it is a plain reshape: it reads the storage, in which a view has any order."""
    x: Tensor = op["self"]
    size, stride = list(op["size"]), list(op["stride"])
    dense = [prod(size[i + 1 :]) for i in range(len(size))]
    if stride == dense and prod(size) == prod(x.shape) and "self" in op.values.dense:
        return op.moved(reshaped(op, x, size))
    return op.freeze(LIMIT, "as_strided that is not a reshape")
