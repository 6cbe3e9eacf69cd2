"""Products: axes that are several sets, row-major, and sets that turn out to be."""

from collections.abc import Sequence

from zooalign.graph.atoms import Axis, Cause
from zooalign.graph.sums import Sums

__all__ = ["Products"]

# Cut at more points than this, hardly two of its units would be left alike.
_MOST_SHIFTS = 2


class Products(Sums):
    """Index sets that may be split into factors."""

    def split(self, atom: int, inner: int) -> Axis:
        """Make an atom the product of an outer and an inner factor of ``inner`` positions."""
        root = self.find(atom)
        if root in self._product:
            return self._split_axis(self._product[root], inner)
        outer_size = self.sizes[root] // inner
        if outer_size == 1 or inner == 1:
            return (root,)
        pieces, cuts = self.pieces(root), self._cuts(root)
        if self._shifts(pieces, inner) > _MOST_SHIFTS:
            shifted = Cause("order", self.operator, "laid against shifted copies of itself")
            self.fix((root,), shifted)
            pieces, cuts = (root,), []
        outer, within = self._part(outer_size, root), self._part(inner, root)
        self._sum.pop(root, None)
        self._define_product(root, (outer, within))
        self._restrict_by_blocks(root, outer, inner)
        if len(pieces) == 1:
            return (outer, within)
        # A sum becomes blocks: whole blocks keep their piece, a block that straddles pieces is
        # one block whose inside is a sum.
        points = {point for cut in cuts for point in (cut // inner, -(-cut // inner))}
        for point in sorted(points - {0, outer_size}):
            self._cut(outer, point)
        ends = [0, *cuts, self.sizes[root]]
        for start, block in zip(self._starts(outer), self.pieces(outer), strict=True):
            low, high = start * inner, (start + self.sizes[block]) * inner
            covered = [
                p
                for p, lo, hi in zip(pieces, ends, ends[1:], strict=False)
                if low < hi and lo < high
            ]
            inside = self.new(inner)
            self.state_restriction(within, outer, start, start + self.sizes[block], inside)
            here: Axis = (inside,) if self.sizes[block] == 1 else (block, inside)
            if len(covered) == 1 and self.sizes[covered[0]] == high - low:
                self.unify_axes(here, (covered[0],))
            else:  # pieces may reach over the block's ends: take their parts
                parts = [
                    self.segment((p,), max(low, lo) - lo, min(high, hi) - lo)
                    for p, lo, hi in zip(pieces, ends, ends[1:], strict=False)
                    if low < hi and lo < high
                ]
                self.unify_axes(here, self.concatenate(parts))
        return (outer, within)

    def _restrict_by_blocks(self, root: int, outer: int, inner: int) -> None:
        """What was restricted to whole blocks is restricted to values of the outer factor."""
        for (atom, on, low, high), restricted in list(self.restrictions.items()):
            if self.find(on) == root and low % inner == 0 and high % inner == 0:
                del self.restrictions[atom, on, low, high]
                self.state_restriction(atom, outer, low // inner, high // inner, restricted)

    def _shifts(self, pieces: Sequence[int], inner: int) -> int:
        """How many blocks of ``inner`` positions begin within a block of a piece that has some.

        Each is shifted against the others, as when relative positions become absolute ones.
        """
        count = start = 0
        for piece in pieces:
            size, digits = self.sizes[piece], self.digits((piece,))
            if len(digits) > 1:
                block = self.sizes[digits[-1]]
                bounds = range(-(-start // inner) * inner, start + size, inner)
                count += sum((bound - start) % block != 0 for bound in bounds)
            start += size
        return count

    def _split_axis(self, axis: Axis, inner: int) -> Axis:
        outer, within = self.factor(axis, inner)
        return self.digits((*outer, *within))

    def factor(self, axis: Axis, inner: int) -> tuple[Axis, Axis]:
        """An axis as (outer, inner) axes, the inner of ``inner`` positions.

        Where the factors do not fit, the axis is fixed and both parts are new fixed axes.
        """
        rest, have = list(self.digits(axis)), 1
        within: list[int] = []
        while have < inner and rest:
            size = self.sizes[rest[-1]]
            if (inner // have) % size == 0 and inner % (have * size) == 0:
                within.insert(0, rest.pop())
                have *= size
            elif inner % have == 0 and size % (inner // have) == 0:
                rest[-1:] = self.split(rest[-1], inner // have)
                rest = list(self.digits(rest))
            else:
                return self._unfit(axis, inner)
        return tuple(rest), tuple(within)

    def _unfit(self, axis: Axis, inner: int) -> tuple[Axis, Axis]:
        sizes = "x".join(str(self.sizes[a]) for a in self.digits(axis))
        cause = Cause("factors that do not fit", self.operator, f"{sizes} in blocks of {inner}")
        known = [self.fixed(atom) for atom in self.digits(axis)]
        if all(known):  # told apart already: that is the reason
            cause = known[0] or cause
        self.fix(axis, cause)
        return self.axis(self.size(axis) // inner, cause), self.axis(inner, cause)
