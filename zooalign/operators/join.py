"""Operators that put index sets side by side or take parts of them: cat, split, slice, pad."""

from collections.abc import Sequence

from zooalign.graph.index_sets import LIMIT, Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule

__all__ = ["joined", "part"]


def part(op: Operator, x: Tensor, number: int, low: int, high: int) -> list[Axis]:
    """The axes of ``x`` after axis ``number`` is cut to positions ``low`` to ``high``."""
    if not x.axes[number]:
        return list(x.axes)  # x does not vary along it
    if low == high:
        return [axis if n != number else () for n, axis in enumerate(x.axes)]
    if _independent(op, x, number):
        op.apart(x, number)
        axes = list(x.axes)
        axes[number] = op.fixed_axis(high - low, "position") if high - low > 1 else ()
        return axes
    return list(op.sets.register(op.sets.cut_out(x.axes, number, low, high)))


def _independent(op: Operator, x: Tensor, number: int) -> bool:
    """Whether a cut changes nothing: a fixed axis on which no other order depends."""
    digits = op.sets.digits(x.axes[number])
    if not all(op.sets.fixed(d) for d in digits):
        return False
    others = [a for n, axis in enumerate(x.axes) if n != number for a in op.sets.digits(axis)]
    return not any(op.sets.may_depend(a, d) for a in others for d in digits)


@rule("aten.slice", roles="copy")
def slice_(op: Operator) -> Tensor:
    """Positions ``start`` to ``end``, every ``step``-th."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    size, step = x.shape[number], op["step"]
    low, high = _range(op["start"], op["end"], size)
    if step == 1:
        return op.moved(part(op, x, number, low, high))
    if low >= high:
        return op.moved(part(op, x, number, low, low))
    axes = list(x.axes)
    if not axes[number]:
        return op.moved(axes)
    count = op.results[0][number]
    if count == 1:
        return op.moved(part(op, x, number, low, low + 1))
    if not _independent(op, x, number):
        apart = _every(op, x, number, slice(low, high, step), count)
        if apart is not None:
            return op.moved(apart)
    # Explanations show the kind of reason: for positions it is a fact, not a limit.
    known = all(op.sets.fixed(d) for d in op.sets.digits(axes[number]))
    op.apart(x, number)
    op.sets.fix(axes[number], op.cause("position" if known else LIMIT, "strided slice"))
    axes[number] = op.fixed_axis(count, "position")
    return op.moved(axes)


def _every(op: Operator, x: Tensor, number: int, taken: slice, count: int) -> list[Axis] | None:
    """The axes if each block of ``step`` positions has one that is taken, else None."""
    blocks = _blocks(x.shape[number], taken, count)
    if blocks is None:
        return None
    first, within = blocks
    step = taken.step
    axes: Sequence[Axis] = x.axes
    if count * step < x.shape[number]:
        axes = op.sets.cut_out(axes, number, first, first + count * step)
    outer, inner = op.sets.factor(axes[number], step)
    apart = [*axes[:number], outer, inner, *axes[number + 1 :]]
    cut = op.sets.cut_out(apart, number + 1, within, within + 1)
    return [*cut[: number + 1], *cut[number + 2 :]]


def _blocks(size: int, taken: slice, count: int) -> tuple[int, int] | None:
    """Where the blocks begin of which each has one position that is taken, and which one.

    The blocks are those of the whole axis if ``step`` divides it, so that other slices share them.
    """
    low, step = taken.start, taken.step
    if low < step and taken.stop == size and size % step == 0:
        return 0, low
    within = max(0, low + count * step - size)  # the last block may lack its end
    return (low - within, within) if within <= low and within < step else None


@rule("aten.narrow", roles="copy")
def narrow(op: Operator) -> Tensor:
    """A slice by start and length."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    start = op["start"] % x.shape[number]
    return op.moved(part(op, x, number, start, start + op["length"]))


@rule("aten.select", roles="copy")
def select(op: Operator) -> Tensor:
    """One position; the axis goes."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    index = op["index"] % x.shape[number]
    axes = part(op, x, number, index, index + 1)
    return op.moved([*axes[:number], *axes[number + 1 :]])


@rule("aten.unbind", roles="copy")
def unbind(op: Operator) -> list[Tensor]:
    """Each position as a tensor."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    results = []
    for index in range(x.shape[number]):
        axes = part(op, x, number, index, index + 1)
        results.append(op.moved([*axes[:number], *axes[number + 1 :]], index))
    return results


@rule(
    *aten(
        "split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split split_copy "
        "split_with_sizes_copy"
    ),
    roles="copy",
)
def split(op: Operator) -> list[Tensor]:
    """Consecutive parts of one axis."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    results, low = [], 0
    for index, shape in enumerate(op.results):
        high = low + shape[number]
        results.append(op.moved(part(op, x, number, low, high), index))
        low = high
    return results


def joined(op: Operator, parts: Sequence[Tensor], number: int) -> list[Axis]:
    """The axes of tensors put side by side along axis ``number``."""
    sets = op.sets
    # Empty parts (caches that are not filled yet) add nothing; of several, the first is enough.
    parts = [p for p in parts if p.shape[number] > 0] or list(parts[:1])
    if len(parts) == 1:
        return list(parts[0].axes)
    if all(p.axes[number] and _independent(op, p, number) for p in parts):
        for p in parts:
            op.apart(p, number)
        whole = op.fixed_axis(sum(p.shape[number] for p in parts), "position")
        pieces = None
    else:
        pieces = [sets.wrap(op.varying(p, number)) for p in parts]
        whole = sets.concatenate([(piece,) for piece in pieces])
        _tell_apart(op, parts, number, pieces)
    axes = [
        whole if n == number else _beside(op, [p.axes[n] for p in parts], whole, pieces)
        for n in range(parts[0].ndim)
    ]
    return list(sets.register(axes))


def _tell_apart(op: Operator, parts: Sequence[Tensor], number: int, pieces: Sequence[int]) -> None:
    """State that copies of one tensor are alike, and copies of different tensors are not.

    A tensor that does not vary along an axis consists of copies along it.
    """
    copies: dict[int, list[Axis]] = {}
    for x, piece in zip(parts, pieces, strict=True):
        if not x.axes[number] and x.shape[number] > 1:
            copies.setdefault(id(x), []).append((piece,))
    apart = {id(x): x for x in parts}
    for key, pieces_of_x in copies.items() if len(apart) > 1 else ():
        axes = list(apart[key].axes)
        axes[number] = op.sets.concatenate(pieces_of_x)
        op.sets.register(axes)


def _beside(op: Operator, others: Sequence[Axis], whole: Axis, pieces: list[int] | None) -> Axis:
    """One axis of tensors that are joined along another."""
    sets = op.sets
    present = [axis for axis in others if axis]
    if not present:
        return ()
    first = sets.digits(present[0])
    if all(sets.digits(axis) == first for axis in present[1:]):
        return first
    if pieces is None or len(present) < len(others):
        for axis in present[1:]:
            sets.unify_axes(present[0], axis)
        return present[0]
    # Each part may have its own order: one set that is a different one in each part.
    atoms = [sets.wrap(axis) for axis in others]
    family = sets.new(sets.size(first))
    start = 0
    for piece, atom in zip(pieces, atoms, strict=True):
        stop = start + sets.sizes[piece]
        sets.state_restriction(family, sets.digits(whole)[0], start, stop, atom)
        start = stop
    return (family,)


@rule("aten.cat", "aten.concat", "aten.concatenate", roles="copy")
def cat(op: Operator) -> Tensor:
    """Side by side along an axis."""
    parts = [t for t in op["tensors"] if t.shape != (0,)]
    return op.moved(joined(op, parts, op["dim"] % parts[0].ndim))


@rule("aten.stack", roles="copy")
def stack(op: Operator) -> Tensor:
    """Side by side along a new axis."""
    number = op["dim"] % (op["tensors"][0].ndim + 1)
    parts = [
        Tensor((*t.shape[:number], 1, *t.shape[number:]), (*t.axes[:number], (), *t.axes[number:]))
        for t in op["tensors"]
    ]
    return op.moved(joined(op, parts, number))


@rule("aten.slice_scatter", roles="copy")
def slice_scatter(op: Operator) -> Result:
    """A tensor with positions ``start`` to ``end`` replaced by another."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    size = x.shape[number]
    low, high = _range(op["start"], op["end"], size)
    if op["step"] != 1:
        return _every_replaced(op, x, op["src"], number, slice(low, high, op["step"]))
    return op.moved(_replaced(op, x, op["src"], number, low, high))


def _every_replaced(op: Operator, x: Tensor, src: Tensor, number: int, taken: slice) -> Tensor:
    """One position of each block of ``step`` replaced; the axis is fixed if blocks do not fit."""
    size, step, count = x.shape[number], taken.step, src.shape[number]
    blocks = _blocks(size, taken, count)
    if blocks is None:
        op.fix((x.axes[number], src.axes[number]), LIMIT, "strided write")
        others = (_others(x, number), _others(src, number))
        axes = [op.same_axis(a, b) for a, b in zip(*others, strict=True)]
        fixed = op.fixed_axis(size, LIMIT, "strided write")
        return op.tensor([*axes[:number], fixed, *axes[number:]], batch=axes)
    first, within = blocks
    last = first + count * step
    whole = _sized(x, number, count * step, part(op, x, number, first, last))
    written = _sized(x, number, count * step, _one_of_each(op, whole, src, number, within))
    return op.moved(_replaced(op, x, written, number, first, last))


def _one_of_each(op: Operator, x: Tensor, src: Tensor, number: int, within: int) -> list[Axis]:
    """The axes of ``x`` with position ``within`` of each block replaced."""
    count = src.shape[number]
    step = x.shape[number] // count
    outer, inner = op.sets.factor(x.axes[number], step) if x.axes[number] else ((), ())
    blocks = Tensor(
        (*x.shape[:number], count, step, *x.shape[number + 1 :]),
        (*x.axes[:number], outer, inner, *x.axes[number + 1 :]),
    )
    one_of_each = Tensor(
        (*src.shape[: number + 1], 1, *src.shape[number + 1 :]),
        (*src.axes[: number + 1], (), *src.axes[number + 1 :]),
    )
    axes = _replaced(op, blocks, one_of_each, number + 1, within, within + 1)
    outer, inner = axes[number], axes[number + 1]
    if outer or inner:
        outer, inner = outer or op.sets.axis(count), inner or op.sets.axis(step)
    return [*axes[:number], (*outer, *inner), *axes[number + 2 :]]


def _sized(x: Tensor, number: int, size: int, axes: Sequence[Axis]) -> Tensor:
    """A tensor like ``x`` with another size and other axes."""
    return Tensor((*x.shape[:number], size, *x.shape[number + 1 :]), tuple(axes))


def _others(x: Tensor, number: int) -> tuple[Axis, ...]:
    return x.axes[:number] + x.axes[number + 1 :]


@rule("aten.select_scatter", roles="copy")
def select_scatter(op: Operator) -> Tensor:
    """A tensor with one position replaced by another tensor."""
    x, src = op["self"], op["src"]
    number = op["dim"] % x.ndim
    low = op["index"] % x.shape[number]
    shape, axes = list(src.shape), list(src.axes)
    shape.insert(number, 1)
    axes.insert(number, ())
    return op.moved(_replaced(op, x, Tensor(tuple(shape), tuple(axes)), number, low, low + 1))


def _replaced(op: Operator, x: Tensor, src: Tensor, number: int, low: int, high: int) -> list[Axis]:
    """``x`` before and after the positions, with the new part between."""
    parts = []
    for start, stop, tensor in ((0, low, x), (low, high, src), (high, x.shape[number], x)):
        if stop > start:
            axes = part(op, x, number, start, stop) if tensor is x else list(src.axes)
            shape = (*x.shape[:number], stop - start, *x.shape[number + 1 :])
            parts.append(Tensor(shape, op.sets.register(axes)))
    return joined(op, parts, number)


def _range(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """The bounds of a slice, as Python reads them."""
    low, high, _ = slice(start, end).indices(size)
    return low, max(low, high)


@rule("aten.pad", "aten.constant_pad_nd", roles="copy")
def pad(op: Operator) -> Tensor:
    """A border of constants, or of copies of the edge, on any of the last axes."""
    x: Tensor = op["self"]
    widths = list(op["pad"])
    axes = list(x.axes)
    for turn in range(len(widths) // 2):
        number = x.ndim - 1 - turn
        low, high = widths[2 * turn], widths[2 * turn + 1]
        if not low and not high:
            continue
        mode = op.get("mode", "constant")
        if min(low, high) < 0 or mode != "constant":
            op.sets.fix(axes[number], op.cause("position", f"{mode} padding"))
            op.apart(Tensor(x.shape, tuple(axes)), number)
            axes[number] = op.fixed_axis(op.results[0][number], "position")
            continue
        if not axes[number] and x.shape[number] > 1:  # copies of x are not alike with the border
            axes[number] = op.varying(x, number)
            op.sets.register(axes)
        elif axes[number] and _independent(op, Tensor(x.shape, tuple(axes)), number):
            op.apart(Tensor(x.shape, tuple(axes)), number)
            axes[number] = op.fixed_axis(x.shape[number], "position")
        # The border holds one value: its positions are alike.
        before, after = ([op.sets.axis(width)] if width else [] for width in (low, high))
        axes[number] = op.sets.concatenate([*before, axes[number], *after])
    return op.moved(axes)


@rule("aten.reflection_pad1d", "aten.reflection_pad2d", "aten.replication_pad2d")
def edge_pad(op: Operator) -> Tensor:
    """Positions are copied to the border, so they are told apart."""
    x: Tensor = op["self"]
    axes = list(x.axes)
    widths = list(op["padding"])
    kept = list(x.axes)
    for turn in range(len(widths) // 2):
        number = x.ndim - 1 - turn
        if widths[2 * turn : 2 * turn + 2] == [0, 0]:
            continue
        op.fix([axes[number]], "position", "padding")
        kept[number] = ()
        axes[number] = op.fixed_axis(op.results[0][number], "position")
    return op.tensor(axes, batch=kept)


@rule("aten.roll", roles="copy")
def roll(op: Operator) -> Tensor:
    """Shifted round: what was last comes first."""
    x: Tensor = op["self"]
    axes = list(x.axes)
    shifts, dims = op["shifts"], op["dims"]
    for shift, dim in zip(shifts, dims, strict=True):
        number = dim % x.ndim
        size = x.shape[number]
        shift %= size
        if not axes[number] or not shift:
            continue
        turned = Tensor(x.shape, tuple(axes))
        if _independent(op, turned, number):
            op.apart(turned, number)
            axes[number] = op.fixed_axis(size, "position")
            continue
        ends = [
            part(op, turned, number, size - shift, size),
            part(op, turned, number, 0, size - shift),
        ]
        sizes = (shift, size - shift)
        parts = [
            Tensor((*x.shape[:number], n, *x.shape[number + 1 :]), tuple(a))
            for n, a in zip(sizes, ends, strict=True)
        ]
        axes = joined(op, parts, number)
    return op.moved(axes)
