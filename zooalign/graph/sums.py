"""Sums: sets side by side, and parts cut out of them."""

from collections.abc import Sequence
from itertools import accumulate

from zooalign.graph.atoms import Axis
from zooalign.graph.restrictions import Restrictions

__all__ = ["Sums"]


class Sums(Restrictions):
    """Index sets that may be pieces side by side."""

    def _starts(self, atom: int) -> list[int]:
        return [0, *accumulate(self.sizes[p] for p in self.pieces(atom))][:-1]

    def singles(self, axis: Axis) -> bool:
        """Whether an axis is a sum of single positions, each of its own."""
        digits = self.digits(axis)
        pieces = self.pieces(digits[0]) if len(digits) == 1 else ()
        return len(pieces) > 1 and all(self.sizes[piece] == 1 for piece in pieces)

    def spans(self, atom: int, low: int = 0, high: int | None = None) -> list[tuple[int, int]]:
        """First and last (exclusive) positions of the pieces between two cuts."""
        stop = self.sizes[atom] if high is None else high
        starts = [start for start in self._starts(atom) if low <= start < stop]
        return list(zip(starts, [*starts[1:], stop], strict=True))

    def _cuts(self, atom: int) -> list[int]:
        return self._starts(atom)[1:]

    def _cut(self, atom: int, point: int) -> None:
        """Refine the pieces of an atom (no product) so that one starts at ``point``."""
        root = self.find(atom)
        if root not in self._sum:
            parts = [self._part(n, root) for n in (point, self.sizes[root] - point)]
            self._define_sum(root, parts)
            return
        flat: list[int] = []
        for start, piece in zip(self._starts(root), self.pieces(root), strict=True):
            offset = point - start
            if not 0 < offset < self.sizes[piece]:
                flat.append(piece)
            elif piece in self._product:
                low = self.wrap(self.segment((piece,), 0, offset))
                high = self.wrap(self.segment((piece,), offset, self.sizes[piece]))
                flat.extend((low, high))
            else:
                self._cut(piece, offset)
                flat.extend(self.pieces(piece))
        self.version += 1
        self._sum[root] = tuple(flat)

    def piece(self, atom: int, low: int, high: int) -> int:
        """The atom that holds positions ``low`` to ``high`` of an atom that is no product."""
        root = self.find(atom)
        if (low, high) == (0, self.sizes[root]):
            return root
        if (root, low, high) not in self._parts:
            self._parts[root, low, high] = self._piece(root, low, high)
        return self.find(self._parts[root, low, high])

    def _piece(self, root: int, low: int, high: int) -> int:
        for point in (low, high):
            if 0 < point < self.sizes[root] and point not in self._cuts(root):
                self._cut(root, point)
        run = tuple(
            p
            for start, p in zip(self._starts(root), self.pieces(root), strict=True)
            if low <= start < high
        )
        return run[0] if len(run) == 1 else self._run(run)

    def _run(self, pieces: Sequence[int]) -> int:
        # By representatives: the same pieces are never a new sum.
        run = tuple(self.find(piece) for piece in pieces)
        if run not in self._runs:
            whole = self.new(sum(self.sizes[p] for p in run))
            self._define_sum(whole, run)
            if all(p in self._fixed for p in run):
                self._follow((whole,), self._fixed[run[0]])
            self._runs[run] = whole
        return self.find(self._runs[run])

    def wrap(self, axis: Axis) -> int:
        """An axis as one atom."""
        if len(axis) == 1:
            return self.find(axis[0])
        digits = self.digits(axis)
        if len(digits) == 1:
            return digits[0]
        if not digits:
            return self.new(1)
        if digits not in self._wraps:
            whole = self._wraps[digits] = self.new(self.size(digits))
            self._define_product(whole, digits)
            if all(d in self._fixed for d in digits):
                self._fixed[whole] = self._fixed[digits[0]]
        return self.find(self._wraps[digits])

    def concatenate(self, axes: Sequence[Axis]) -> Axis:
        """The axis that holds the given axes side by side."""
        if len(axes) == 1:
            return axes[0]
        return (self._run([self.wrap(axis) for axis in axes]),)

    def segment(self, axis: Axis, low: int, high: int) -> Axis:
        """Positions ``low`` to ``high`` of an axis, as an axis."""
        return self.cut_out((axis,), 0, low, high)[0]

    def cut_out(self, axes: Sequence[Axis], number: int, low: int, high: int) -> list[Axis]:
        """All axes of a tensor after axis ``number`` is cut to positions ``low`` to ``high``."""
        axis = self.digits(axes[number])
        if (low, high) == (0, self.size(axis)):
            return [tuple(a) for a in axes]
        first, rest = axis[0], axis[1:]
        inner = self.size(rest)
        written = [self.digits(a) for a in axes]
        # Where the set stands twice, only what stands beside this one is said to go with it.
        once = sum(self.count(a, first) for a in written) == 1
        beside = self.count(axis, first) == 1
        if low % inner == 0 and high % inner == 0:
            piece = self.piece(first, low // inner, high // inner)
            part = (first, low // inner, high // inner)
            cut = [self.restrict(a, *part) if once else a for a in written]
            kept = () if self.sizes[piece] == 1 else (piece,)
            cut[number] = (*kept, *(self.restrict(rest, *part) if beside else rest))
            return cut
        # The cut runs through a block: blocks one by one, and no order may depend on them.
        parts: list[Axis] = []
        start = low
        while start < high:
            block = start // inner
            stop = min(high, (block + 1) * inner)
            if start % inner == 0 and high - start >= inner:
                stop = high - high % inner
            part = (first, block, -(-stop // inner))
            piece = self.piece(*part)
            inside = self.restrict(rest, *part) if beside else rest
            whole = (piece, *inside) if self.sizes[piece] > 1 else inside
            offset = block * inner
            parts.append(self.segment(whole, start - offset, stop - offset))
            start = stop
        for other, others in enumerate(axes):
            if other != number:
                for atom in self.digits(others):
                    if any(self.may_depend(atom, d) for d in axis):
                        self.register([(atom,)])
        cut = [tuple(a) for a in axes]
        cut[number] = self.concatenate(parts)
        return cut
