"""Linear equations over the rationals or over two elements: what they leave free.

Most have one unknown or two. These are merged as they come (union-find with a factor on every
edge), so that long chains of equal unknowns cost nothing. Only the others are eliminated.
"""

from collections.abc import Hashable, Iterable, Mapping
from fractions import Fraction
from typing import Generic, TypeVar

__all__ = ["Equations", "Vector", "reduced"]

U = TypeVar("U", bound=Hashable)
Vector = dict[U, Fraction]


class Equations(Generic[U]):
    """Homogeneous equations that grow; over two elements if ``binary``, else over the rationals.

    Examples
    --------
    >>> equations = Equations()
    >>> equations.state({"x": 1, "y": 1})
    >>> equations.state({"y": 1, "z": -2})
    >>> [{u: int(v) for u, v in b.items()} for b in equations.null_space(["x", "y", "z"])]
    [{'x': -2, 'y': 2, 'z': 1}]
    """

    def __init__(self, *, binary: bool = False) -> None:
        self._binary = binary
        self._parent: dict[U, tuple[U, Fraction]] = {}
        self._zero: set[U] = set()  # roots
        self._others: list[Vector[U]] = []

    def copy(self) -> "Equations[U]":
        """The same equations, to which others can be added."""
        other: Equations[U] = Equations(binary=self._binary)
        other._parent = dict(self._parent)
        other._zero = set(self._zero)
        other._others = list(self._others)
        return other

    def state(self, equation: Mapping[U, int | Fraction]) -> None:
        """State that the sum of unknowns with these factors is zero."""
        reduced = self._reduced(equation)
        if len(reduced) == 1:
            self._zero.update(reduced)
        elif len(reduced) == 2:
            (a, x), (b, y) = reduced.items()
            self._parent[a] = (b, self._number(-y / x))
        elif reduced:
            self._others.append(reduced)

    def null_space(self, unknowns: Iterable[U]) -> list[Vector[U]]:
        """A basis of the solutions, each without its zeros; ``unknowns`` are those that count."""
        unknowns = list(unknowns)
        pivots = self._eliminated()
        free: dict[U, Vector[U]] = {}  # by the unknown that is one
        for unknown in unknowns:
            root, factor = self._find(unknown)
            for each, value in self._solved(root, factor, pivots).items():
                free.setdefault(each, {})[unknown] = value
        return list(free.values())

    def holds(self, solution: Mapping[U, int | Fraction]) -> bool:
        """Whether all equations hold; unknowns that are left out are zero."""
        value = {u: self._number(x) for u, x in solution.items()}
        zero = Fraction(0)
        merged = all(
            value.get(u, zero) == self._number(factor * value.get(parent, zero))
            for u, (parent, factor) in self._parent.items()
        )
        others = (sum(x * value.get(u, zero) for u, x in e.items()) for e in self._others)
        return (
            merged
            and not any(value.get(u) for u in self._zero)
            and not any(self._number(total) for total in others)
        )

    def _solved(self, root: U, factor: Fraction, pivots: Mapping[U, Vector[U]]) -> Vector[U]:
        """A multiple of a root by the free unknowns."""
        if root in self._zero:
            return {}
        if root not in pivots:
            return {root: factor}
        row = {u: self._number(factor * -x) for u, x in pivots[root].items() if u != root}
        return {u: x for u, x in row.items() if x}

    def _eliminated(self) -> dict[U, Vector[U]]:
        """The equations of more than two unknowns as rows, each of one pivot, by that."""
        size = -1
        while size != len(self._zero) + len(self._parent):  # one may have become one of two
            size = len(self._zero) + len(self._parent)
            others, self._others = self._others, []
            for equation in others:
                self.state(equation)
        rows: dict[U, Vector[U]] = {}
        for equation in self._others:
            row = dict(equation)
            for pivot, known in rows.items():
                row = _without(row, known, pivot, self._binary)
            if not row:
                continue
            pivot, lead = next(iter(row.items()))
            row = {u: self._number(x / lead) for u, x in row.items()}
            rows = {p: _without(r, row, pivot, self._binary) for p, r in rows.items()}
            rows[pivot] = row
        return rows

    def _reduced(self, equation: Mapping[U, int | Fraction]) -> Vector[U]:
        """By roots, without zeros."""
        result: Vector[U] = {}
        for unknown, x in equation.items():
            root, factor = self._find(unknown)
            if root not in self._zero:
                result[root] = self._number(result.get(root, Fraction(0)) + x * factor)
        return {u: x for u, x in result.items() if x}

    def _find(self, unknown: U) -> tuple[U, Fraction]:
        """The root of an unknown, and how many times the root it is."""
        chain: list[tuple[U, Fraction]] = []
        while unknown in self._parent:
            parent, factor = self._parent[unknown]
            chain.append((unknown, factor))
            unknown = parent
        times = Fraction(1)
        for each, factor in reversed(chain):
            times *= factor
            self._parent[each] = (unknown, times)
        return unknown, times

    def _number(self, x: Fraction | int) -> Fraction:
        return _number(x, self._binary)


def reduced(
    vectors: Iterable[Vector[U]], first: Iterable[U] = (), *, binary: bool = False
) -> dict[U, Vector[U]]:
    """A basis of the space of some vectors, each by an unknown that is one in it.

    It is zero in all others of the basis. As many of ``first`` as can be are among them.

    Examples
    --------
    >>> one = {"x": Fraction(1), "y": Fraction(2)}
    >>> basis = reduced([one, {u: 2 * x for u, x in one.items()}])
    >>> {u: {v: int(x) for v, x in vector.items()} for u, vector in basis.items()}
    {'x': {'x': 1, 'y': 2}}
    """
    order = list(first)
    rows: dict[U, Vector[U]] = {}
    left = [dict(vector) for vector in vectors]
    for unknown in (*order, *dict.fromkeys(u for vector in left for u in vector)):
        row = next((vector for vector in left if vector.get(unknown)), None)
        if row is None:
            continue
        left = [vector for vector in left if vector is not row]
        row = {u: x / row[unknown] for u, x in row.items()}
        left = [_without(vector, row, unknown, binary) for vector in left]
        rows = {u: _without(vector, row, unknown, binary) for u, vector in rows.items()}
        rows[unknown] = row
    return rows


def _without(vector: Vector[U], row: Vector[U], unknown: U, binary: bool) -> Vector[U]:
    """The vector less so much of a row that nothing is left of an unknown."""
    return _less(vector, row, vector.get(unknown, Fraction(0)), binary)


def _less(row: Vector[U], other: Vector[U], times: Fraction, binary: bool) -> Vector[U]:
    if not times:
        return row
    result = dict(row)
    for unknown, x in other.items():
        result[unknown] = _number(result.get(unknown, Fraction(0)) - times * x, binary)
    return {u: x for u, x in result.items() if x}


def _number(x: Fraction | int, binary: bool) -> Fraction:
    x = Fraction(x)
    if not binary:
        return x
    if x.denominator % 2 == 0:
        raise ValueError(f"{x} has no meaning over two elements")
    return Fraction(x.numerator % 2)
