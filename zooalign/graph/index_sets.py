"""Index sets: what the positions of axes are, and how operators relate them.

An **atom** is a set of positions. An **axis** of a tensor is the row-major product of atoms, none
where the tensor does not vary along it. Operators state relations between atoms:

- *equality*: two are one set, position by position (union-find: each class has a representative);
- *product*: one is a product of factors (a reshape), written out by :meth:`IndexSets.digits`;
- *sum*: one is pieces side by side (a concatenation), given by :meth:`IndexSets.pieces`;
- *restriction*: what an atom is where another one takes only some of its values;
- *fixed*: the positions are told apart, by a :class:`Cause`.

Nothing here knows torch or networkx.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

__all__ = ["LIMIT", "Axis", "Cause", "IndexSets", "Relation"]

Axis = tuple[int, ...]
# The kind of a cause that is not a fact about the network: a rule does not know better.
LIMIT = "not understood"

# Cut at more points than this, hardly two of its units would be left alike.
_MOST_SHIFTS = 2
# A sum of more pieces than this comes only from matching a set with its own shifted copy;
# such a set has no symmetry worth the work.
_MOST_PIECES = 4096


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


class IndexSets:
    """A growing system of atoms under relations. Mutable while a graph is read, then only asked."""

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
        self._never: set[int] = set()  # representatives on which no order may depend
        # Single positions that a cut left over, and that were never taken for themselves.
        self._left_over: set[int] = set()
        self._known: set[tuple[Axis, ...]] = set()  # what was registered without being a tensor
        self._appears: dict[int, list[int]] = {}
        self._runs: dict[tuple[int, ...], int] = {}
        self._wraps: dict[Axis, int] = {}
        self._parts: dict[tuple[int, int, int], int] = {}
        # As of a version:
        self._inside: tuple[int, dict[int, Counter[int]]] = (0, {})
        self._laid_out: tuple[int, dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = (0, {})

    # ------------------------------------------------------------------ atoms and axes

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
        digits: list[int] = []
        for atom in axis:
            root = self.find(atom)
            if root in self._product:
                digits.extend(self.digits(self._product[root]))
            elif self.sizes[root] != 1:
                digits.append(root)
        return tuple(digits)

    def left_over(self, piece: int) -> bool:
        """Whether a piece is one position that is known to be like others of a set.

        An atom of one position stands in no axis, so it is not seen where a tensor has it alone.
        It counts as a unit only if a cut beside it made it, and nothing ever took it out.
        """
        return self.find(piece) in self._left_over and self.find(piece) not in self._fixed

    def is_sum(self, atom: int) -> bool:
        """Whether the atom is defined as pieces side by side."""
        return self.find(atom) in self._sum

    def product_of(self, atom: int) -> Axis | None:
        """The factors the atom is defined by, or None."""
        return self._product.get(self.find(atom))

    def pieces(self, atom: int) -> tuple[int, ...]:
        """The finest pieces of a sum, in order (the atom itself where it is not a sum)."""
        return self._layout(atom)[0]

    def _layout(self, atom: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The finest pieces of an atom, and where each starts."""
        root = self.find(atom)
        if root not in self._sum:
            return (root,), (0,)
        if self._laid_out[0] != self.version:
            self._laid_out = (self.version, {})
        known = self._laid_out[1]
        if root not in known:
            finest: list[int] = []
            stack = [root]
            while stack:
                piece = stack.pop()
                if piece in self._sum:
                    stack.extend(self.find(part) for part in reversed(self._sum[piece]))
                else:
                    finest.append(piece)
            starts = accumulate((self.sizes[piece] for piece in finest[:-1]), initial=0)
            known[root] = (tuple(finest), tuple(starts))
        return known[root]

    def inside(self, atom: int) -> Counter[int]:
        """How often each atom occurs in one piece of a sum, at most."""
        root = self.find(atom)
        if root not in self._sum:
            return Counter()
        if self._inside[0] != self.version:
            self._inside = (self.version, {})
        known = self._inside[1]
        stack = [root]
        while stack:  # inner sums first
            if stack[-1] in known:
                stack.pop()
                continue
            pieces = [self.digits((p,)) for p in {self.find(p) for p in self._sum[stack[-1]]}]
            sums = {d for digits in pieces for d in digits if d in self._sum and d not in known}
            if sums:
                stack.extend(sums)
                continue
            most: Counter[int] = Counter()
            for digits in pieces:
                most |= sum((known[d] for d in digits if d in self._sum), Counter(digits))
            known[stack.pop()] = most
        return known[root]

    def count(self, axis: Iterable[int], atom: int) -> int:
        """How often an atom occurs in an axis, inside its sums too."""
        root = self.find(atom)
        return sum((digit == root) + self.inside(digit)[root] for digit in self.digits(axis))

    # ------------------------------------------------------------------ what is told apart

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
            # A fact about the network replaces a limit of the rules, whichever was stated first.
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
        if whole in self._never:
            self._never.add(atom)
        return atom

    # ------------------------------------------------------------------ tensors

    def register(self, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        """State that a tensor with these axes exists.

        An atom may be ordered per value of another one only if every tensor that has the one has
        the other too. So the dims of a head may have an order for each head, and channels have one
        order for all positions.

        Atoms that are one entry of an axis belong together: where a set occurs twice in a tensor,
        the factors of one entry are known to go with each other, and nothing else is.
        """
        tensor = tuple(tuple(axis) for axis in axes)
        number = len(self.tensors)
        self.tensors.append(tensor)
        for axis in tensor:
            for atom in axis:
                self._appears.setdefault(self.find(atom), []).append(number)
        return tensor

    def bound(self, axes: Iterable[Axis]) -> None:
        """State that these axes occur together with no other: nothing else may be depended on."""
        tensor = tuple(axis for axis in axes if axis)
        if tensor and tensor not in self._known:
            self._known.add(tensor)
            self.register(tensor)

    def never_depended_on(self) -> frozenset[int]:
        """All atoms, by representatives, whose positions no order may depend on."""
        return frozenset(map(self.find, self._never))

    def misalign(self, axis: Iterable[int], cause: Cause) -> None:
        """Fix an axis whose positions are stated to be those of another, but not one by one.

        Nothing may depend on them: it is not known which position of the one is which of the other.
        """
        axis = tuple(axis)
        self.fix(axis, cause)
        stack = list(axis)
        while stack:
            root = self.find(stack.pop())
            if root not in self._never:
                self._never.add(root)
                self.version += 1
                stack.extend((*self._product.get(root, ()), *self._sum.get(root, ())))

    def may_depend(self, atom: int, on: int) -> bool:
        """Whether, as far as the graph is read, ``atom`` may be ordered per value of ``on``."""
        root, other = self.find(atom), self.find(on)
        if root == other or root in self._fixed or other in self._never:
            return False
        for number in self._appears.get(root, ()):
            present = self.digits(a for axis in self.tensors[number] for a in axis)
            if other not in present:
                return False
        return not self.inside(root)[other]

    # ------------------------------------------------------------------ equality

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
        causes = [cause for cause in (self._fixed.get(a), self._fixed.get(b)) if cause]
        self.version += 1
        if not (a in self._left_over and b in self._left_over):
            self._left_over -= {a, b}
        self._parent[b] = a
        self._appears.setdefault(a, []).extend(self._appears.pop(b, ()))
        self._product.pop(b, None)
        self._sum.pop(b, None)
        self._fixed.pop(b, None)
        for cause in causes:
            self._follow((a,), cause)
        if b in self._never and causes:
            self.misalign((a,), causes[0])

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
                self.misalign([*a, *b], cause)
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
        self.misalign((a, b), Cause("a set matched with its own shifted copy", self.operator))

    def _same(self, x: int, y: int) -> bool:
        if self.sizes[x] == 1:
            return self.find(x) == self.find(y)
        return self.digits((x,)) == self.digits((y,))

    # ------------------------------------------------------------------ products

    def split(self, atom: int, inner: int) -> Axis:
        """Make an atom the product of an outer and an inner factor of ``inner`` positions."""
        root = self.find(atom)
        if root in self._product:
            return self.digits(a for axis in self.factor(self._product[root], inner) for a in axis)
        outer_size = self.sizes[root] // inner
        if outer_size == 1 or inner == 1:
            return (root,)
        pieces, cuts = self.pieces(root), self._cuts(root)
        if self._shifts(pieces, inner) > _MOST_SHIFTS:
            shifted = Cause("order", self.operator, "laid against shifted copies of itself")
            self.fix((root,), shifted)
            pieces, cuts = (root,), ()
        outer, within = self._part(outer_size, root), self._part(inner, root)
        self._sum.pop(root, None)
        self._left_over -= set(pieces)
        self._define_product(root, (outer, within))
        self._restrict_by_blocks(root, outer, inner)
        if len(pieces) == 1:
            return (outer, within)
        # A sum becomes blocks: whole blocks keep their piece, a block that straddles pieces is
        # one block whose inside is a sum.
        points = {point for cut in cuts for point in (cut // inner, -(-cut // inner))}
        for point in sorted(points - {0, outer_size}):
            self._cut(outer, point)
        self._left_over -= set(self.pieces(outer))  # each block has an inside of its own
        ends = [0, *cuts, self.sizes[root]]
        for start, block in zip(self._starts(outer), self.pieces(outer), strict=True):
            low, high = start * inner, (start + self.sizes[block]) * inner
            inside = self.new(inner)
            self.state_restriction(within, outer, start, start + self.sizes[block], inside)
            block_axis: Axis = (inside,) if self.sizes[block] == 1 else (block, inside)
            # Pieces may reach over the ends of the block: take what lies in it.
            covered = [
                self.segment((piece,), max(low, first) - first, min(high, last) - first)
                for piece, first, last in zip(pieces, ends, ends[1:], strict=False)
                if low < last and first < high
            ]
            self.unify_axes(block_axis, self.concatenate(covered))
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
        self.misalign(axis, cause)
        return self.axis(self.size(axis) // inner, cause), self.axis(inner, cause)

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

    def _define_product(self, root: int, factors: Axis) -> None:
        self.version += 1
        self._product[root] = factors
        for factor in factors:
            self._appears.setdefault(factor, []).extend(self._appears.get(root, ()))
            self._relate("product", root, factor)

    # ------------------------------------------------------------------ sums

    def singles(self, axis: Axis) -> bool:
        """Whether an axis is a sum of single positions, each of its own."""
        digits = self.digits(axis)
        pieces = self.pieces(digits[0]) if len(digits) == 1 else ()
        return len(pieces) > 1 and all(self.sizes[piece] == 1 for piece in pieces)

    def spans(self, atom: int, low: int = 0, high: int | None = None) -> list[tuple[int, int]]:
        """First and last (exclusive) positions of the pieces between two cuts."""
        stop = self.sizes[atom] if high is None else high
        starts = self._layout(atom)[1]
        starts = starts[bisect_left(starts, low) : bisect_left(starts, stop)]
        return list(pairwise((*starts, stop)))

    def _starts(self, atom: int) -> tuple[int, ...]:
        return self._layout(atom)[1]

    def _cuts(self, atom: int) -> tuple[int, ...]:
        return self._layout(atom)[1][1:]

    def _cut(self, atom: int, point: int) -> None:
        """Refine the pieces of an atom (not a product) so that one starts at ``point``."""
        root = self.find(atom)
        if root not in self._sum:
            parts = [self._part(n, root) for n in (point, self.sizes[root] - point)]
            self._left_over |= {part for part in parts if self.sizes[part] == 1}
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
        """The atom that holds positions ``low`` to ``high`` of an atom that is not a product."""
        root = self.find(atom)
        if (low, high) == (0, self.sizes[root]):
            self._left_over.discard(root)
            return root
        # What was cut once may have become whole again, as a product.
        for point in (low, high):
            starts = self._starts(root)
            if point < self.sizes[root] and starts[bisect_right(starts, point) - 1] != point:
                self._cut(root, point)
        key = (root, low, high)
        pieces, starts = self._layout(root)
        run = pieces[bisect_left(starts, low) : bisect_left(starts, high)]
        part = run[0] if len(run) == 1 else self._run(run)
        self._agree(self._parts.setdefault(key, part), part)
        self._left_over.discard(self.find(part))
        return self.find(part)

    def _run(self, pieces: Sequence[int]) -> int:
        # By representatives, so that the same pieces are the same sum.
        run = tuple(self.find(piece) for piece in pieces)
        if run not in self._runs:
            whole = self.new(sum(self.sizes[p] for p in run))
            self._define_sum(whole, run)
            if all(p in self._fixed for p in run):
                self._follow((whole,), self._fixed[run[0]])
            self._runs[run] = whole
        return self.find(self._runs[run])

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
        # Where the atom occurs twice, only the factors of the same entry are known to go with it.
        once = sum(self.count(a, first) for a in written) == 1
        beside = once or (len(axes[number]) == 1 and self.count(axis, first) == 1)
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

    # ------------------------------------------------------------------ restrictions

    def restrict(self, axis: Axis, on: int, low: int, high: int) -> Axis:
        """What the axis is where ``on`` takes values ``low`` to ``high`` only."""
        if (low, high) == (0, self.sizes[on]):
            return axis
        return tuple(
            self.restricted(atom, on, low, high) if self.may_depend(atom, on) else atom
            for atom in self.digits(axis)
        )

    def restricted(self, atom: int, on: int, low: int, high: int) -> int:
        """The atom that ``atom`` is where ``on`` takes values ``low`` to ``high``."""
        key = (self.find(atom), self.find(on), low, high)
        if key not in self.restrictions:
            restricted = self.new(self.sizes[atom])
            self.version += 1
            self.restrictions[key] = restricted
            self._relate("restriction", restricted, atom)
        return self.restrictions[key]

    def state_restriction(self, atom: int, on: int, low: int, high: int, restricted: int) -> None:
        """State that ``atom`` is ``restricted`` where ``on`` takes values ``low`` to ``high``."""
        key = (self.find(atom), self.find(on), low, high)
        if key in self.restrictions:
            self.unify(self.restrictions[key], restricted)
        self.restrictions[key] = restricted
        self._relate("restriction", restricted, atom)

    def tidy(self) -> None:
        """Key all tables by representatives. Two entries that get one key are unified."""
        wraps, self._wraps = self._wraps, {}
        for axis, whole in wraps.items():
            self._agree(self._wraps.setdefault(self.digits(axis), whole), whole)
        runs, self._runs = self._runs, {}
        for run, whole in runs.items():
            names = tuple(self.find(piece) for piece in run)
            self._agree(self._runs.setdefault(names, whole), whole)
        parts, self._parts = self._parts, {}
        for (on, low, high), part in parts.items():
            self._agree(self._parts.setdefault((self.find(on), low, high), part), part)
        restrictions, self.restrictions = self.restrictions, {}
        for (atom, on, low, high), restricted in restrictions.items():
            key = (self.find(atom), self.find(on), low, high)
            self._agree(self.restrictions.setdefault(key, restricted), restricted)

    def _agree(self, known: int, other: int) -> None:
        if self.find(known) != self.find(other):
            self.unify(known, other)

    def _relate(self, kind: str, left: int, right: int) -> None:
        self.relations.append(Relation(kind, left, right, self.operator))
