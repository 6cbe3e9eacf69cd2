"""Operators that read positions by number: embedding, gather, index tables, ranges."""

from collections.abc import Sequence
from dataclasses import replace

from zooalign.graph.index_sets import LIMIT, Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators.elementwise import same

__all__ = ["index"]


@rule("aten.embedding", roles="factor still")
def embedding(op: Operator) -> Tensor:
    """Rows of a table by number: the rows are told apart, the width is not."""
    return op.relate("v! d, *n -> *n d", op["weight"], op["indices"], fixed="index")


@rule("aten.embedding_bag")
def embedding_bag(op: Operator) -> list[Tensor]:
    """Sums of rows of a table: rows and bags are told apart, the width is not."""
    weight, *numbers = op.tensors()
    op.fix([weight.axes[0], *(axis for tensor in numbers for axis in tensor.axes)], "index")
    results: list[list[Axis]] = []
    for shape in op.results:
        results.append([op.fixed_axis(n, "index") if n else () for n in shape])
        if shape == op.results[0]:  # the sums, or which rows have the largest value
            results[-1][1] = weight.axes[1]
    return [op.tensor(axes, number) for number, axes in enumerate(results)]


@rule("aten.isin")
def among(op: Operator) -> Tensor:
    """Whether each element is among some values, which are told apart."""
    elements, *values = op.tensors()
    op.fix((axis for tensor in values for axis in tensor.axes), "index")
    return same(op, elements)


def _reason(op: Operator, x: Tensor, number: int) -> tuple[str, str]:
    """Numbers tell positions apart. A constant that names each once only gives another order.

    Units might move with it, but index sets are row-major: that is a limit of the rules.
    """
    if op.values.reorders and op.results[0][number] == x.shape[number]:
        return LIMIT, "units in another order by a constant"
    return "index", ""


@rule("aten.index_select")
def index_select(op: Operator) -> Tensor:
    """Positions of one axis by number."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    kept = [axis for n, axis in enumerate(x.axes) if n != number]
    reason = _reason(op, x, number)
    op.fix([x.axes[number]], *reason)
    chosen = op["index"].axes[0] if op["index"].axes else ()
    if op.results[0][number] > 1 and (chosen == () or op.values.reorders):
        chosen = op.fixed_axis(op.results[0][number], *reason)
    return op.tensor([*kept[:number], chosen, *kept[number:]], batch=kept)


def index(op: Operator) -> Tensor:
    """Positions of several axes by tables of numbers, whose axes replace them."""
    x: Tensor = op["self"]
    tables = list(op["indices"]) + [None] * (x.ndim - len(op["indices"]))
    used = [n for n, table in enumerate(tables) if table is not None]
    reason = _reason(op, x, used[0])
    op.fix((x.axes[number] for number in used), *reason)
    count = max(tables[n].ndim for n in used)
    adjacent = used == list(range(used[0], used[0] + len(used)))
    place = used[0] if adjacent else 0
    kept = [axis for n, axis in enumerate(x.axes) if n not in used]
    shape = op.results[0][place : place + count]
    new: list[Axis] = [op.fixed_axis(n, *reason) for n in shape]
    for number in used:
        table = tables[number]
        for axis, fresh in zip(table.axes[::-1], new[::-1], strict=False):
            if axis and fresh:
                op.fix([axis], "index")
    aligned = list(kept)
    for number in used:
        place_of_range = _range_along(op, tables[number], x.shape[number])
        if place_of_range is not None:  # position i is read by number i
            new[place_of_range] = op.same_axis(x.axes[number], new[place_of_range])
            aligned.append(new[place_of_range])
    return op.tensor([*kept[:place], *new, *kept[place:]], batch=aligned)


def _range_along(op: Operator, table: Tensor, size: int) -> int | None:
    """The place, from the right, along which a table of numbers is 0, 1, ... ``size`` - 1.

    It is the same along all its other axes.
    """
    varying = [n for n, axis in enumerate(table.axes) if axis]
    if len(varying) != 1 or table.shape[varying[0]] != size:
        return None
    digits = op.sets.digits(table.axes[varying[0]])
    alike = bool(table.labels) and digits == op.sets.digits(table.labels)
    return varying[0] - table.ndim if alike else None


@rule(
    *aten(
        "arange linspace randn rand randint randperm logspace tril_indices triu_indices "
        "hann_window hamming_window fft_fftfreq fft_rfftfreq"
    )
)
def numbers(op: Operator) -> Tensor:
    """A new tensor whose positions differ."""
    op.only_form("start", "end")  # numbers, not axes
    axes = [op.fixed_axis(n, "position", "a range") for n in op.results[0]]
    range_from_0 = op.name.startswith("aten.arange") and not op.get("start") and len(axes) == 1
    # Its values are the numbers of its own positions.
    labels = axes[0] if range_from_0 and op.get("step", 1) == 1 else ()
    return replace(op.moved(axes), labels=labels)


@rule("aten.tril", "aten.triu")
def triangle(op: Operator) -> Tensor:
    """Rows and columns (the last two axes) are told apart by which is larger; batch axes stay."""
    return op.relate("*n i! j! -> *n k! l!", op["self"], fixed="order")


@rule("aten.meshgrid")
def meshgrid(op: Operator) -> Result:
    """Each range along one axis of the grid."""
    return op.freeze("position", "a grid")


@rule("aten.sym_size", "aten.sym_numel", "aten._assert_tensor_metadata", "aten._assert_async")
def nothing(op: Operator) -> None:
    """No tensor comes out."""
    op.only_form(*op.arguments)


@rule("aten.index_put", "aten.index_put_", "aten._unsafe_index_put")
def index_put(op: Operator) -> Result:
    """Values written at positions of some axes, named by number tables or by one mask."""
    x, values = op["self"], op["values"]
    tables = list(op["indices"]) + [None] * (x.ndim - len(op["indices"]))
    used = [n for n, table in enumerate(tables) if table is not None]
    if "indices" in op.values.boolean:
        return _masked_put(op, x, tables, values)
    count = max(tables[n].ndim for n in used)
    adjacent = used == list(range(used[0], used[0] + len(used)))
    kept = [n for n in range(x.ndim) if n not in used]
    place = used[0] if adjacent else 0
    cause = op.cause("index", "written by number")
    axes = list(x.axes)
    for number in used:
        op.sets.fix((*axes[number], *(a for axis in tables[number].axes for a in axis)), cause)
        axes[number] = op.fixed_axis(x.shape[number], "index", "written by number")
    # Values are laid out as what the same tables would read: the tables' axes, and those kept.
    layout: list[int | None] = [*kept[:place], *([None] * count), *kept[place:]]
    for where, axis in zip(layout[::-1], values.axes[::-1], strict=False):
        if where is None:
            op.sets.fix(axis, cause)
        else:
            axes[where] = op.same_axis(axes[where], axis)
    return op.tensor(axes, batch=[axes[n] for n in kept])


def _masked_put(op: Operator, x: Tensor, tables: Sequence[Tensor | None], values: Tensor) -> Result:
    """Where a mask says so, a value that is the same for all positions of the mask."""
    masks = [(n, table) for n, table in enumerate(tables) if table is not None]
    (start, mask), *others = masks
    behind = x.ndim - start - mask.ndim
    per_position = values.ndim > behind and values.shape[-behind - 1] != 1
    if others or per_position or values.ndim > behind + 1:
        return op.freeze(LIMIT, "values of their own for the positions of a mask")
    shape = (*mask.shape, *([1] * behind))
    return same(op, x, Tensor(shape, (*mask.axes, *([()] * behind))), values)
