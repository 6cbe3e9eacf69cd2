"""Operators that pick or place positions by value: masks, thresholds, numbers that Python reads.

A graph that was recorded from a run (:mod:`zooalign.graph.concrete`) has them, and some exported
graphs have. How many positions a mask names is known there; which ones is not asked, so the axes
of a mask are told apart.
"""

from zooalign.graph.index_sets import Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators import elementwise, index


@rule(
    *aten("""
item _local_scalar_dense is_nonzero equal allclose nonzero nonzero_numpy argwhere where.default
bincount unique_consecutive unique_dim _unique2 _unique masked_select repeat_interleave.Tensor
multinomial
""")
)
def value_dependent(op: Operator) -> Result:
    """The values decide how the network goes on, so all positions are told apart."""
    return op.freeze("index", "read by value")


@rule("aten.index", "aten._unsafe_index", labels=True)
def by_mask_or_number(op: Operator) -> Result:
    """By number as :func:`zooalign.operators.index.index`; a mask's positions replace its axes."""
    tables = list(op["indices"])
    for tensor in op.operands():
        op.fix([tensor.labels], "index", "a number of a position, used as a value")
    if "indices" not in op.values.boolean:
        return index.index(op)
    masks = [(number, table) for number, table in enumerate(tables) if table is not None]
    (start, mask), *others = masks
    x: Tensor = op["self"]
    if others:
        return op.freeze("index", "several masks")
    end = start + mask.ndim
    op.fix((*mask.axes, *x.axes[start:end]), "index", "a mask")
    chosen = op.fixed_axis(op.results[0][start], "index", "a mask")
    kept = (*x.axes[:start], *x.axes[end:])
    return op.tensor([*x.axes[:start], chosen, *x.axes[end:]], batch=kept)


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
    axes: list[Axis] = list(x.axes)
    told_apart = (*mask.axes, *source.axes[: source.ndim - whole], *axes[: x.ndim - whole])
    op.fix(told_apart, "index", "a mask")
    for number in range(x.ndim - whole):
        if x.shape[number] > 1:
            axes[number] = op.fixed_axis(x.shape[number], "index", "a mask")
    for turn in range(1, whole + 1):
        axes[-turn] = op.same_axis(axes[-turn], source.axes[-turn])
    return op.tensor(axes, batch=axes[x.ndim - whole :])


@rule("aten.bucketize")
def bucketize(op: Operator) -> Tensor:
    """The number of the interval that each value is in; the bounds have an order."""
    bounds = op.get("boundaries")
    if bounds is not None:
        op.fix(bounds.axes, "order")
    value = op["self"]
    return elementwise.same(op, value) if isinstance(value, Tensor) else op.tensor([])


@rule("aten.searchsorted")
def searchsorted(op: Operator) -> Tensor:
    """As :func:`bucketize`; bounds of more axes than one have one row for each row of values."""
    bounds, value = op["sorted_sequence"], op["self"]
    op.fix(bounds.axes[-1:], "order")
    if not isinstance(value, Tensor):
        return op.tensor([()] * len(op.results[0]))
    if bounds.ndim == 1:
        return elementwise.same(op, value)
    rows = zip(bounds.axes[:-1], value.axes[:-1], strict=True)
    kept = [op.same_axis(one, other) for one, other in rows]
    return op.tensor([*kept, value.axes[-1]], batch=[*kept, value.axes[-1]])


@rule("aten.index_add", "aten.index_copy", "aten.index_fill", "aten.index_reduce")
def write_by_number(op: Operator) -> Result:
    """Positions of one axis, named by numbers, are written; the other axes are shared."""
    op.only_form("value")  # one number for all
    x, source = op["self"], op.get("source")
    dim = op["dim"] % max(x.ndim, 1)
    if isinstance(source, Tensor) and source.ndim not in (0, x.ndim):
        return op.freeze("index", "written by number")
    written = source.axes if isinstance(source, Tensor) and source.ndim else ((),) * x.ndim
    op.fix(op["index"].axes, "index", "written by number")
    axes = list(x.axes)
    for number in range(x.ndim):
        if number == dim:
            op.fix((axes[dim], written[dim]), "index", "written by number")
            axes[dim] = op.fixed_axis(x.shape[dim], "index", "written by number")
        else:
            axes[number] = op.same_axis(axes[number], written[number])
    return op.tensor(axes, batch=[axis for number, axis in enumerate(axes) if number != dim])


@rule("aten.repeat_interleave.self_Tensor")
def repeat_by_numbers(op: Operator) -> Result:
    """Positions of one axis, each as often as a number says."""
    x: Tensor = op["self"]
    op.fix(op["repeats"].axes, "index", "repeated by number")
    if op["dim"] is None:
        return op.freeze("index", "repeated by number")
    dim = op["dim"] % x.ndim
    axes = list(x.axes)
    op.fix([axes[dim]], "index", "repeated by number")
    kept = [axis for number, axis in enumerate(axes) if number != dim]
    axes[dim] = op.fixed_axis(op.results[0][dim], "index", "repeated by number")
    return op.tensor(axes, batch=kept)
