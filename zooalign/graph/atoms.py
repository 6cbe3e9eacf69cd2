"""Atoms: sets of positions, what they are defined by, whether they are fixed, where they stand.

The base of :class:`~zooalign.graph.index_sets.IndexSets`; nothing here knows torch or networkx.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

__all__ = ["LIMIT", "Atoms", "Axis", "Cause", "Relation"]

Axis = tuple[int, ...]
# The kind of a cause that is no fact about the network: a rule does not know better.
LIMIT = "not understood"


@dataclass(frozen=True)
class Cause:
    """Why an index set is fixed: a kind (a short class of reasons), the operator, and details."""

    kind: str
    operator: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f' ({self.detail})' if self.detail else ''}, at {self.operator}"


@dataclass(frozen=True)
class Relation:
    """One stated relation between two atoms, for explanations: kind, both atoms, operator."""

    kind: str
    left: int
    right: int
    operator: str


class Atoms(ABC):
    """Atoms with their definitions and causes, and the tensors that they stand in."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.operator = ""  # the operator that states the relations now, for explanations
        self.relations: list[Relation] = []
        self.restrictions: dict[tuple[int, int, int, int], int] = {}
        self.tensors: list[tuple[Axis, ...]] = []
        self.version = 0  # grows whenever anything about the sets changes
        self.causes: dict[int, Cause] = {}  # as stated, by original atom, for explanations
        self._parent: list[int] = []
        self._product: dict[int, Axis] = {}
        self._sum: dict[int, tuple[int, ...]] = {}
        self._fixed: dict[int, Cause] = {}
        self._appears: dict[int, list[int]] = {}
        self._runs: dict[tuple[int, ...], int] = {}
        self._wraps: dict[Axis, int] = {}
        self._parts: dict[tuple[int, int, int], int] = {}
        self._inside: tuple[int, dict[int, Counter[int]]] = (0, {})  # as of a version

    def new(self, size: int, fixed: Cause | None = None) -> int:
        """A new atom of ``size`` positions."""
        atom = len(self.sizes)
        self.sizes.append(size)
        self._parent.append(atom)
        if fixed is not None:
            self._fixed[atom] = fixed
            self.causes[atom] = fixed
        return atom

    def axis(self, size: int, fixed: Cause | None = None) -> Axis:
        """A new axis of ``size`` positions (no atom at all for size one)."""
        return () if size == 1 else (self.new(size, fixed),)

    def find(self, atom: int) -> int:
        """The representative of the atom's equality class."""
        root = atom
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[atom] != root:
            self._parent[atom], atom = root, self._parent[atom]
        return root

    def size(self, axis: Iterable[int]) -> int:
        """Number of positions of an axis."""
        return prod(self.sizes[atom] for atom in axis)

    def digits(self, axis: Iterable[int]) -> Axis:
        """The axis with every product written out: representatives, none of them a product."""
        found: list[int] = []
        for atom in axis:
            root = self.find(atom)
            if root in self._product:
                found.extend(self.digits(self._product[root]))
            elif self.sizes[root] != 1:
                found.append(root)
        return tuple(found)

    def is_sum(self, atom: int) -> bool:
        """Whether the atom is defined as pieces side by side."""
        return self.find(atom) in self._sum

    def product_of(self, atom: int) -> Axis | None:
        """The factors the atom is defined by, or None."""
        return self._product.get(self.find(atom))

    def pieces(self, atom: int) -> tuple[int, ...]:
        """The finest pieces of a sum, in order (the atom itself where it is no sum)."""
        root = self.find(atom)
        if root not in self._sum:
            return (root,)
        return tuple(leaf for piece in self._sum[root] for leaf in self.pieces(piece))

    def inside(self, atom: int) -> Counter[int]:
        """How often each set stands inside a sum, at most, where one of its pieces is taken."""
        root = self.find(atom)
        if root not in self._sum:
            return Counter()
        version, known = self._inside
        if version != self.version:
            known = {}
            self._inside = (self.version, known)
        if root not in known:
            found: Counter[int] = Counter()
            for piece in {self.find(piece) for piece in self._sum[root]}:
                digits = self.digits((piece,))
                found |= sum(map(self.inside, digits), Counter(digits))
            known[root] = found
        return known[root]

    def count(self, axis: Iterable[int], atom: int) -> int:
        """How often a set stands in an axis, in its sums too."""
        root = self.find(atom)
        return sum((digit == root) + self.inside(digit)[root] for digit in self.digits(axis))

    # ------------------------------------------------------------------ fixed

    def fixed(self, atom: int) -> Cause | None:
        """Why the atom's positions are told apart, or None."""
        return self._fixed.get(self.find(atom))

    def fix(self, axis: Iterable[int], cause: Cause) -> None:
        """Fix every atom of an axis, its factors and pieces."""
        axis = tuple(axis)
        for atom in axis:
            self.causes.setdefault(atom, cause)
        self._follow(axis, cause)

    def _follow(self, axis: Iterable[int], cause: Cause) -> None:
        """Fix atoms as a consequence of what was stated about others."""
        for atom in axis:
            root = self.find(atom)
            known = self._fixed.get(root)
            # A limit gives way to a fact about the network, whichever was stated first.
            if known is not None and (known.kind != LIMIT or cause.kind == LIMIT):
                continue
            self._fixed[root] = cause
            self.version += known is None
            self._follow(self._product.get(root, ()), cause)
            self._follow(self._sum.get(root, ()), cause)

    def _part(self, size: int, whole: int) -> int:
        """A new atom that is a factor or piece of ``whole``: fixed where that is."""
        atom = self.new(size)
        if whole in self._fixed:
            self._fixed[atom] = self._fixed[whole]
        return atom

    # ------------------------------------------------------------------ tensors

    def register(self, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        """State that a tensor with these axes exists.

        An atom's order can depend on another atom only where every tensor that has the one has
        the other too; this is what makes head dims an own set within each head, and keeps one
        order of channels for all positions.
        """
        tensor = tuple(tuple(axis) for axis in axes)
        number = len(self.tensors)
        self.tensors.append(tensor)
        for axis in tensor:
            for atom in axis:
                self._appears.setdefault(self.find(atom), []).append(number)
        return tensor

    def may_depend(self, atom: int, on: int) -> bool:
        """Whether, as far as the graph has been read, ``atom`` may be ordered per value of ``on``."""
        root, other = self.find(atom), self.find(on)
        if root == other or root in self._fixed:
            return False
        for number in self._appears.get(root, ()):
            present = self.digits(a for axis in self.tensors[number] for a in axis)
            if other not in present:
                return False
        return not self.inside(root)[other]

    # ------------------------------------------------------------------ definitions

    @abstractmethod
    def unify(self, left: int, right: int) -> None:
        """State that two atoms of one size are one set, position by position."""

    @abstractmethod
    def unify_axes(self, left: Axis, right: Axis) -> None:
        """State that two axes of one size are one, refining factors where they differ."""

    def _define_product(self, root: int, factors: Axis) -> None:
        self.version += 1
        self._product[root] = factors
        for factor in factors:
            self._appears.setdefault(factor, []).extend(self._appears.get(root, ()))
            self._relate("product", root, factor)

    def _define_sum(self, root: int, pieces: Sequence[int]) -> None:
        self.version += 1
        self._sum[root] = tuple(pieces)
        start = 0
        for piece in pieces:
            self._parts.setdefault((root, start, start + self.sizes[piece]), piece)
            start += self.sizes[piece]
            self._relate("sum", root, piece)
        if root in self._fixed:
            self._follow(pieces, self._fixed[root])

    def _relate(self, kind: str, left: int, right: int) -> None:
        self.relations.append(Relation(kind, left, right, self.operator))
