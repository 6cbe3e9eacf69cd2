"""Operators that pick or place positions by value: masks, thresholds, numbers that Python reads.

A graph that was recorded from a run (:mod:`zooalign.graph.concrete`) has them, and some exported
graphs have. How many positions a mask names is known there; which ones is not asked, so the axes
of a mask are told apart.
"""

from zooalign.graph.index_sets import Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import rule
from zooalign.operators import elementwise, index

__all__: list[str] = []

_LOOKED_AT = """
item _local_scalar_dense is_nonzero equal allclose nonzero nonzero_numpy argwhere where.default
bincount unique_consecutive unique_dim _unique2 _unique masked_select repeat_interleave.Tensor
multinomial
""".split()  # noqa: SIM905


@rule(*(f"aten.{name}" for name in _LOOKED_AT))
def looked_at(op: Operator) -> Result:
    """What was read decided how the network goes on: its positions are told apart."""
    made: Tensor | list[Tensor] = op.freeze("index", "read by value")
    return made if op.results else None


@rule("aten.index", "aten._unsafe_index")
def by_mask_or_number(op: Operator) -> Result:
    """By number as :func:`zooalign.operators.index.index`; a mask's positions replace its axes."""
    tables = list(op["indices"])
    if "indices" not in op.boolean:
        return index.index(op)
    masks = [(number, table) for number, table in enumerate(tables) if table is not None]
    (start, mask), *others = masks
    x: Tensor = op["self"]
    if others:
        return op.freeze("index", "several masks")
    cause = op.cause("index", "a mask")
    end = start + mask.ndim
    for axis in (*mask.axes, *x.axes[start:end]):
        op.sets.fix(axis, cause)
    chosen = op.fixed_axis(op.results[0][start], "index", "a mask")
    return op.tensor([*x.axes[:start], chosen, *x.axes[end:]])


@rule("aten.masked_scatter")
def masked_scatter(op: Operator) -> Tensor:
    """Positions that a mask names are taken from another tensor, one after another.

    Axes at the end along which the mask does not vary are taken whole, and are one with the
    source's.
    """
    x, mask, source = op["self"], op["mask"], op["source"]
    lead = x.ndim - mask.ndim
    whole = 0
    while (
        whole < min(x.ndim, source.ndim) - 1
        and (x.ndim - 1 - whole < lead or not mask.axes[mask.ndim - 1 - whole])
        and x.shape[x.ndim - 1 - whole] == source.shape[source.ndim - 1 - whole]
    ):
        whole += 1
    cause = op.cause("index", "a mask")
    axes: list[Axis] = list(x.axes)
    for axis in (*mask.axes, *source.axes[: source.ndim - whole], *axes[: x.ndim - whole]):
        op.sets.fix(axis, cause)
    for number in range(x.ndim - whole):
        if x.shape[number] > 1:
            axes[number] = op.fixed_axis(x.shape[number], "index", "a mask")
    for turn in range(1, whole + 1):
        one, other = axes[-turn], source.axes[-turn]
        if one and other:
            op.sets.unify_axes(one, other)
        axes[-turn] = one or other
    return op.tensor(axes)


@rule("aten.bucketize")
def bucketize(op: Operator) -> Tensor:
    """The number of the interval that each value is in; the bounds have an order."""
    bounds = op.get("boundaries")
    if bounds is not None:
        op.sets.fix(tuple(a for axis in bounds.axes for a in axis), op.cause("order"))
    value = op["self"]
    return elementwise.same(op, value) if isinstance(value, Tensor) else op.tensor([])


@rule("aten.searchsorted")
def searchsorted(op: Operator) -> Tensor:
    """As :func:`bucketize`; bounds of more axes than one have one row for each row of values."""
    bounds, value = op["sorted_sequence"], op["self"]
    op.sets.fix(bounds.axes[-1], op.cause("order"))
    if not isinstance(value, Tensor):
        return op.tensor([()] * len(op.results[0]))
    if bounds.ndim == 1:
        return elementwise.same(op, value)
    axes: list[Axis] = []
    for one, other in zip(bounds.axes[:-1], value.axes[:-1], strict=True):
        if one and other:
            op.sets.unify_axes(one, other)
        axes.append(one or other)
    return op.tensor([*axes, value.axes[-1]])


@rule("aten.index_add", "aten.index_copy", "aten.index_fill", "aten.index_reduce")
def write_by_number(op: Operator) -> Result:
    """Positions of one axis, named by numbers, are written; the other axes are shared."""
    x, source = op["self"], op.get("source")
    dim = op["dim"] % max(x.ndim, 1)
    cause = op.cause("index", "written by number")
    parts = [source] if isinstance(source, Tensor) and source.ndim == x.ndim else []
    if isinstance(source, Tensor) and not parts and source.ndim:
        return op.freeze("index", "written by number")
    axes: list[Axis] = []
    for number, axis in enumerate(x.axes):
        others = [part.axes[number] for part in parts]
        if number == dim:
            op.sets.fix((*axis, *(a for other in others for a in other)), cause)
            fresh = op.fixed_axis(x.shape[number], "index", "written by number")
            axes.append(fresh if x.shape[number] > 1 else ())
            continue
        for other in others:
            if axis and other:
                op.sets.unify_axes(axis, other)
            axis = axis or other
        axes.append(axis)
    op.sets.fix(tuple(a for axis in op["index"].axes for a in axis), cause)
    return op.tensor(axes)


@rule("aten.repeat_interleave.self_Tensor")
def repeat_by_numbers(op: Operator) -> Result:
    """Positions of one axis, each as often as a number says."""
    x: Tensor = op["self"]
    cause = op.cause("index", "repeated by number")
    op.sets.fix(tuple(a for axis in op["repeats"].axes for a in axis), cause)
    if op["dim"] is None:
        return op.freeze("index", "repeated by number")
    dim = op["dim"] % x.ndim
    op.sets.fix(x.axes[dim], cause)
    axes = list(x.axes)
    axes[dim] = op.fixed_axis(op.results[0][dim], "index", "repeated by number")
    return op.tensor(axes)
