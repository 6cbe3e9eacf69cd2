"""Functions of whole matrices: inverses, determinants, covariances, diagonals.

Each entry depends on all, so rows move together and columns move together. Where a function fits
rows to columns (``w + 1``, a trace, a power), they are one set that stands on both axes.
"""

from dataclasses import replace

from zooalign.graph.notation import expression, names
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule


@rule("aten.inverse", "aten.linalg_inv", "aten.linalg_inv_ex")
def inverse(op: Operator) -> Result:
    """Rows and columns change places: the inverse of ``P w Q`` is that of ``Q``, ``w``, ``P``."""
    x = op.first()
    if _singular(x):
        return op.freeze("order", "a matrix without an inverse")
    checked = len(op.results) > 1  # the second result says whether there is one
    return op.relate_all("*n i~ j~ -> *n j~ i~" + ", *n" * checked, x)


def _singular(x: Tensor) -> bool:
    """Whether all rows of a matrix are the same, or all columns."""
    return any(not x.axes[number] and x.shape[number] > 1 for number in (x.ndim - 2, x.ndim - 1))


@rule("aten.linalg_solve", "aten.linalg_solve_ex")
def solve(op: Operator) -> Result:
    """The inverse times a matrix or a vector, or a matrix times the inverse."""
    x, given = op["A"], op["B"]
    if _singular(x):
        return op.freeze("order", "a matrix without an inverse")
    vector = given.ndim == 1 or given.shape == x.shape[:-1]
    if not op["left"]:
        pattern = "*n i~ j~, *n k j~ -> *n k i~"
    else:
        pattern = f"*n i~ j~, *n i~ {'' if vector else 'k'} -> *n j~ {'' if vector else 'k'}"
    checked = len(op.results) > 1
    return op.relate_all(pattern + ", *n" * checked, x, given)


@rule(*aten("linalg_slogdet slogdet linalg_det det logdet"))
def determinant(op: Operator) -> Result:
    """The exchange of two rows changes its sign, that of two rows and two columns does not."""
    signless = len(op.results) > 1 and 0 in op.values.unread
    columns = "j~" if signless else "i~"
    return op.relate_all(f"*n i~ {columns} -> " + ", ".join(["*n"] * len(op.results)), op.first())


@rule("aten.linalg_svdvals")
def singular_values(op: Operator) -> Tensor:
    """By rank, whatever the order of rows and columns."""
    return op.relate("*n i~ j~ -> *n k!", op["A"], fixed="order")


@rule("aten.matrix_exp", "aten.linalg_matrix_exp")
def exponential(op: Operator) -> Tensor:
    """A sum of powers: rows are columns. The one matrix among them tells the diagonal apart."""
    x = op.first()
    varying = [op.varying(x, number) for number in (x.ndim - 2, x.ndim - 1)]
    return op.relate("*n i~ i~ -> *n i~ i~", replace(x, axes=(*x.axes[:-2], *varying)))


@rule("aten.cov", "aten.corrcoef")
def covariance(op: Operator) -> Tensor:
    """Of rows with rows, over columns."""
    x = op["self"]
    weights = [op.get(name) for name in ("fweights", "aweights")]
    if x.ndim < 2:
        return op.relate("*n, ?*n, ?*n -> *scalar", x, *weights)
    return op.relate("i [o], j [o], ?[o], ?[o] -> i j", x, x, *weights)


@rule("aten.pdist", "aten._pdist_forward")
def distances_within(op: Operator) -> Tensor:
    """Of each row to those behind it, in order."""
    return op.relate("a! i -> p!", op["self"], fixed="order")


# ---------------------------------------------------------------------- the diagonal


@rule("aten.eye")
def identity(op: Operator) -> Tensor:
    """The same in any order that rows and columns share."""
    rows, columns = op.results[0]
    if rows != columns:
        return op.tensor([op.fixed_axis(n, "position", "a diagonal") for n in (rows, columns)])
    axis = op.sets.axis(rows)
    return op.moved([axis, axis])


@rule("aten.trace")
def trace(op: Operator) -> Tensor:
    """The sum of the diagonal."""
    x: Tensor = op["self"]
    return op.relate("i i -> *n" if x.shape[0] == x.shape[1] else "i! j! -> *n", x, fixed="order")


@rule("aten.diagonal")
def diagonal(op: Operator) -> Tensor:
    """Of the matrices that two axes hold, as a last axis."""
    x: Tensor = op["self"]
    return _diagonal(op, x, {op["dim1"] % x.ndim, op["dim2"] % x.ndim}, op["offset"])


def _diagonal(op: Operator, x: Tensor, dims: set[int], offset: int) -> Tensor:
    sizes = {x.shape[number] for number in dims}
    together = offset == 0 and len(sizes) == 1
    first, second = sorted(dims)
    marks = {first: "i", second: "i"} if together else {first: "i!", second: "j!"}
    left = names(x.ndim, marks)
    kept = [name for number, name in enumerate(left) if number not in dims]
    right = [*kept, "i" if together else "d!"]
    return op.relate(expression([left], [right]), x, fixed="order")


@rule("aten.diag", "aten.diag_embed")
def diag(op: Operator) -> Result:
    """The diagonal of a matrix, or matrices with a diagonal."""
    x: Tensor = op["self"]
    offset = op.get("diagonal", op.get("offset"))
    if "dim1" not in op.arguments and x.ndim == 2:
        return _diagonal(op, x, {0, 1}, offset)
    last = (op.get("dim1", -2), op.get("dim2", -1)) == (-2, -1)
    if offset or not last:
        return op.freeze("order", "diagonal")
    varying = op.varying(x, x.ndim - 1)
    return op.relate("*n i -> *n i i", replace(x, axes=(*x.axes[:-1], varying)))
