"""Index sets and the relations between them: equality, product, sum, restriction, fixed.

An *atom* is a set of positions that no operator has taken apart yet. An *axis* of a tensor is a
tuple of atoms, read as their row-major product; the empty tuple is an axis of one position.
Operators state relations, and the relations refine atoms:

- equality merges two atoms (union-find);
- a reshape makes an atom a **product** of smaller ones;
- a slice or a concatenation makes an atom a **sum** of pieces laid side by side;
- a slice along one atom **restricts** every other atom whose order may depend on it: the head
  dims of the query slice of a fused projection need not move as those of the value slice do;
- whatever tells positions apart **fixes** an atom.

An atom has at most one definition, a product or a sum; a product may be made of sums, and a
piece of a sum may be a product. Nothing here knows torch or networkx.
"""

from zooalign.graph.atoms import Axis, Cause, Relation
from zooalign.graph.products import Products

__all__ = ["Axis", "Cause", "IndexSets", "Relation"]

# A sum of more pieces than this comes only from matching a set with its own shifted copy;
# such a set has no symmetry worth the work.
_MOST_PIECES = 4096


class IndexSets(Products):
    """A growing system of atoms under relations. Mutable while a graph is read, then only asked.

    What sets are and where they stand is in :mod:`~zooalign.graph.atoms`, and on it build
    :mod:`~zooalign.graph.restrictions`, :mod:`~zooalign.graph.sums` and
    :mod:`~zooalign.graph.products`. Here is what ties all of them: equality.
    """

    def unify(self, left: int, right: int) -> None:
        """State that two atoms of one size are one set, position by position."""
        a, b = self.find(left), self.find(right)
        if left != right:
            self._relate("equality", left, right)
        if a == b:
            return
        if self.sizes[a] != self.sizes[b]:
            raise ValueError(f"index sets of sizes {self.sizes[a]} and {self.sizes[b]} are not one")
        defined = [x for x in (a, b) if x in self._product or x in self._sum]
        if len(defined) == 2:
            if a in self._product or b in self._product:
                self.unify_axes((a,), (b,))
            else:
                self._align(a, b)
            a, b = self.find(a), self.find(b)
            if a == b:
                return
        elif b in self._product or b in self._sum:
            a, b = b, a
        self._link(a, b)

    def _link(self, a: int, b: int) -> None:
        """Make ``a`` the representative of ``b``, whose definition (if any) says the same."""
        found = [cause for cause in (self._fixed.get(a), self._fixed.get(b)) if cause]
        self.version += 1
        self._parent[b] = a
        self._appears.setdefault(a, []).extend(self._appears.pop(b, ()))
        self._product.pop(b, None)
        self._sum.pop(b, None)
        self._fixed.pop(b, None)
        for cause in found:
            self._follow((a,), cause)

    def unify_axes(self, left: Axis, right: Axis) -> None:
        """State that two axes of one size are one, refining factors where they differ."""
        if self.size(left) != self.size(right):
            raise ValueError(
                f"axes of sizes {self.size(left)} and {self.size(right)} cannot be one"
            )
        a, b = list(self.digits(left)), list(self.digits(right))
        while a and b:
            x, y = self.sizes[a[-1]], self.sizes[b[-1]]
            if x == y:
                self.unify(a.pop(), b.pop())
            elif x > y and x % y == 0:
                a[-1:] = self.split(a[-1], y)
            elif y > x and y % x == 0:
                b[-1:] = self.split(b[-1], x)
            else:
                sizes = f"{[self.sizes[i] for i in a]} against {[self.sizes[i] for i in b]}"
                cause = Cause("factors that do not fit", self.operator, sizes)
                self.fix([*a, *b], cause)
                for atom in (*a, *b):
                    self.register([(atom,)])
                return
            # A split or an equality may have refined the factors that are left.
            a, b = list(self.digits(a)), list(self.digits(b))

    def _align(self, a: int, b: int) -> None:
        """Equality of two sums: cut both where either is cut, then piece by piece."""
        for _ in range(_MOST_PIECES):
            cuts_a, cuts_b = self._cuts(a), self._cuts(b)
            if len(cuts_a) + len(cuts_b) > _MOST_PIECES:
                break
            if cuts_a == cuts_b:
                pairs = list(zip(self.pieces(a), self.pieces(b), strict=True))
                if all(self._same(x, y) for x, y in pairs):
                    return
                for x, y in pairs:
                    if self.sizes[x] == 1:  # no digits, yet restrictions go by pieces
                        self.unify(x, y)
                    else:
                        self.unify_axes((x,), (y,))
                continue
            for point in sorted(set(cuts_a) ^ set(cuts_b)):
                self._cut(a if point not in cuts_a else b, point)
        self.fix((a, b), Cause("a set matched with its own shifted copy", self.operator))

    def _same(self, x: int, y: int) -> bool:
        if self.sizes[x] == 1:
            return self.find(x) == self.find(y)
        return self.digits((x,)) == self.digits((y,))
