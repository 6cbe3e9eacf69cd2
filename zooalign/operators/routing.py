"""Operators that choose positions by value, and use the numbers of what was chosen.

A router scores experts, ``topk`` takes the numbers of the best, and their weights are gathered or
scattered by these numbers. Permuting the experts permutes the numbers with them: nothing tells
experts apart, as long as the numbers name only them. So a tensor of numbers carries the axis that
it chose from as its ``labels``, and an operator that meets them takes that axis for its own. All
that use such numbers in any other way pin the axis (:func:`zooalign.graph.build.trace`).

Ties are broken by position, and unsorted results are in the order of positions: then the axis that
was chosen from is fixed, as :mod:`zooalign.graph.choices` finds out.
"""

from dataclasses import replace

from zooalign.graph.index_sets import Axis
from zooalign.graph.layouts import LAYOUTS
from zooalign.graph.notation import expression, names
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, collect, lookup, roles_given, rule
from zooalign.operators import elementwise, join, view

__all__ = ["WITHOUT_LABELS"]


@rule(*aten("topk sort max.dim min.dim median.dim nanmedian.dim kthvalue mode"))
def ranked(op: Operator) -> Result:
    """Values along an axis by rank, all or some, and the numbers of their positions.

    The values do not say where they stood; the numbers do where values are equal.
    """
    x: Tensor = op["self"]
    if x.ndim == 0:
        return op.freeze("order")
    dim = op["dim"] % x.ndim
    if 1 not in op.values.unread:
        _told_apart_by_position(op, x, dim)
    elif op.name.startswith("aten.topk"):
        _told_apart_by_order(op, x, dim)
    left = names(x.ndim, {dim: "[{}]"})
    rank = "k!" if len(op.results[0]) == x.ndim else ""
    right = [*left[:dim], rank, *left[dim + 1 :]]
    values, numbers = op.relate_all(expression([left], [right, right]), x, fixed="order")
    return [values, _labelled(op, numbers, x.axes[dim])]


#: Operators whose numbers are those of the largest or smallest values, where these do not tie.
_LARGEST = ("topk", "argmax", "argmin", "max", "min")


def _told_apart_by_position(op: Operator, x: Tensor, dim: int) -> None:
    """Fix the axis from which positions are chosen where not the values alone decide."""
    if op.values.ties or op.name.split(".")[1] not in _LARGEST:
        op.fix([x.axes[dim]], "order", "values may tie, which their positions decide")
    _told_apart_by_order(op, x, dim)


def _told_apart_by_order(op: Operator, x: Tensor, dim: int) -> None:
    """Fix the axis from which positions are chosen where their order is seen in the results."""
    if op.values.order_is_seen:
        op.fix([x.axes[dim]], "order", "the order of unsorted results is that of positions")


def _labelled(op: Operator, numbers: Tensor, labels: Axis) -> Tensor:
    """A tensor of numbers that name positions of ``labels``: where it is, that axis is too."""
    if labels:
        op.sets.register([*numbers.axes, labels])
    return replace(numbers, labels=labels)


@rule("aten.argmax", "aten.argmin")
def extreme(op: Operator) -> Result:
    """The number of the largest value along an axis."""
    x: Tensor = op["self"]
    if op["dim"] is None or x.ndim == 0:
        return op.freeze("order")
    dim = op["dim"] % x.ndim
    _told_apart_by_position(op, x, dim)
    left = names(x.ndim, {dim: "[{}]"})
    right = [*left[:dim], "1" if op["keepdim"] else "", *left[dim + 1 :]]
    numbers = op.relate(expression([left], [right]), x)
    return _labelled(op, numbers, x.axes[dim])


#: The rules that :func:`laid_out` calls, by operator name.
WITHOUT_LABELS = collect(elementwise, join, view)


@rule(*(f"aten.{name}" for name in sorted(LAYOUTS)), labels=True)
def laid_out(op: Operator) -> Tensor:
    """The same numbers in another layout, or some of them: they name the same positions."""
    plain = lookup(WITHOUT_LABELS, op.name)
    assert plain is not None
    op.roles = roles_given(plain, op.name)
    result = plain(op)
    assert isinstance(result, Tensor)
    labels = op.first().labels
    return _labelled(op, result, labels) if labels else result


@rule("aten.one_hot", labels=True)
def one_hot(op: Operator) -> Tensor:
    """A new axis for the value: the one that the numbers chose from, if that is known."""
    x: Tensor = op["self"]
    size, value = op.results[0][-1], x.labels
    if not x.labels or op.sets.size(x.labels) != size or x.labels in x.axes:
        op.fix([x.labels], "index")
        value = op.fixed_axis(size, "index")
    return op.moved([*x.axes, value])


@rule("aten.gather", labels=True)
def gather(op: Operator) -> Tensor:
    """Each result position reads along one axis by a number of its own."""
    x, table = op["self"], op["index"]
    dim = op["dim"] % max(x.ndim, 1)
    if not _names(op, table, x, dim):
        op.fix([x.axes[dim]], "index")
    axes = [
        axis if number == dim else _joined(op, axis, table.shape[number], x, number)
        for number, axis in enumerate(table.axes)
    ]
    kept = [axis for number, axis in enumerate(axes) if number != dim]
    return _labelled(op, op.tensor(axes, batch=kept), x.labels)


@rule("aten.scatter", "aten.scatter_", "aten.scatter_add", "aten.scatter_reduce", labels=True)
def scatter(op: Operator) -> Tensor:
    """Values written along one axis at positions named by numbers, or sums, means, ... of them."""
    x, table = op["self"], op["index"]
    dim = op["dim"] % max(x.ndim, 1)
    source = op.get("src")
    parts = [t for t in (table, source) if isinstance(t, Tensor)]
    for part in parts:
        if part is not table:
            op.fix([part.labels], "index", "a number of a position, used as a value")
    named = not x.labels and _names(op, table, x, dim)
    if not named:  # by constants
        op.fix((tensor.labels for tensor in (x, *parts)), "index")
    axes: list[Axis] = []
    for number, axis in enumerate(x.axes):
        if number != dim:
            for part in parts:
                axis = _joined(op, axis, x.shape[number], part, number)
        elif named:
            axis = table.labels
            if source is not None:
                op.same_axis(source.axes[dim], table.axes[dim])
            if source is not None and op.name.endswith(".src") and "add" not in op.name:
                written = (table.axes[dim], source.axes[dim])
                op.fix(written, "order", "written one after another: the last one stays")
        else:  # positions with names that have nothing to do with the network's units
            op.fix([axis, *(part.axes[dim] for part in parts)], "index")
            axis = op.fixed_axis(x.shape[dim], "index")
        axes.append(axis)
    return op.tensor(axes, batch=[axis for number, axis in enumerate(axes) if number != dim])


def _joined(op: Operator, axis: Axis, size: int, part: Tensor, number: int) -> Axis:
    """An axis that one more tensor shares, or of which it has only the first positions."""
    other = part.axes[number]
    if part.shape[number] != size:
        op.fix((axis, other), "index")
        return op.fixed_axis(size, "index")
    return op.same_axis(axis, other)


def _names(op: Operator, table: Tensor, x: Tensor, dim: int) -> bool:
    """Whether the numbers name positions of axis ``dim`` of ``x``, then one set with theirs."""
    if not table.labels or op.sets.size(table.labels) != x.shape[dim]:
        op.fix([table.labels], "index")
        return False
    op.same_axis(table.labels, x.axes[dim])
    return True
