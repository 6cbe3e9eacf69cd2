"""Which index sets may be ordered per value of which others, and restrictions brought to an end.

An index set *a* may have an own order for each value of *b* exactly where every tensor that has
*a* has *b* too, in one box: then no operator ever meets *a* without knowing *b*. These relations
form a preorder; the permutations that respect it are a generalised wreath product (Bailey,
Praeger, Rowley, Speed: "Generalized wreath products of permutation groups", Proc. London Math.
Soc. 47, 1983). Chains of it are nested groups (heads, with dims inside each); sets that depend on
each other are one joint set.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from zooalign.graph.index_sets import IndexSets
from zooalign.symmetry.boxes import Box, Digit, Side, boxes

__all__ = ["dependence", "settle"]

_Key = tuple[int, frozenset[int]]

# Each round merges classes, so a fixed point comes early; this only bounds a defect.
_MOST_ROUNDS = 200


def dependence(all_boxes: Iterable[Box]) -> dict[int, frozenset[int]]:
    """For every index set, the sets its order may depend on (itself left out).

    A set that stands twice in a box cannot be depended on there, unless one of the two shares
    the axis of the dependent set: otherwise it would not be said which of the two is meant.
    """
    found: dict[int, set[int]] = {}
    for box in all_boxes:
        present = [*box.atoms(), *((n, x) for n, x, _ in box.chosen())]
        total = Counter(atom for _, atom in present)
        single = {atom for atom, count in total.items() if count == 1}
        beside: dict[int, Counter[int]] = defaultdict(Counter)
        for number, atom in present:
            beside[number][atom] += 1
        for number, atom in box.atoms():
            allowed = single | {other for other, count in beside[number].items() if count == 1}
            if atom in found:
                found[atom] &= allowed
            else:
                found[atom] = set(allowed)
    return {atom: frozenset(on - {atom}) for atom, on in found.items()}


def settle(sets: IndexSets) -> list[Box]:
    """Bring all restrictions to an end and return the boxes of all tensors, in order.

    Where a set turns out not to depend on the sum it was restricted along, the restricted sets
    are the set itself; where it does, each box gets its own.
    """
    table: dict[_Key, int] = {}
    for _ in range(_MOST_ROUNDS):
        raw = [b for n, axes in enumerate(sets.tensors) for b in boxes(sets, n, axes)]
        if not sets.restrictions and not any(b.chosen() for b in raw):
            return raw
        family = _Families(sets, table, dependence(raw))
        if not family.close():
            renamed = [family.rename(box) for box in raw]
            if not family.changed:
                return renamed
        table = family.table
    raise AssertionError("restrictions of index sets did not come to an end")


class _Families:
    """Restricted sets by (set, pieces), under one state of the dependence relation."""

    def __init__(
        self, sets: IndexSets, table: dict[_Key, int], depends: dict[int, frozenset[int]]
    ) -> None:
        self.sets, self.depends = sets, depends
        self.table: dict[_Key, int] = {}
        self.changed = False
        self.bases: dict[int, list[_Key]] = defaultdict(list)
        for (atom, pieces), restricted in table.items():
            self._state(atom, pieces, restricted)
        for (atom, _, piece), restricted in list(sets.restrictions.items()):
            leaves = sets.pieces(piece)
            if leaves == (sets.find(piece),):
                self._state(atom, frozenset(leaves), restricted)
            else:
                for leaf in leaves:
                    only = frozenset((leaf,))
                    self._unify(self.at(atom, only), self.at(restricted, only))

    def _unify(self, left: int, right: int) -> None:
        if self.sets.find(left) != self.sets.find(right):
            self.sets.unify_axes((left,), (right,))
            self.changed = True

    def _key(self, atom: int, pieces: Iterable[int]) -> _Key:
        return self.sets.find(atom), frozenset(self.sets.find(p) for p in pieces)

    def _state(self, atom: int, pieces: frozenset[int], restricted: int) -> None:
        key = self._key(atom, pieces)
        if key in self.table:
            self._unify(self.table[key], restricted)
        else:
            self.table[key] = restricted
            self.bases[self.sets.find(restricted)].append(key)

    def at(self, atom: int, pieces: frozenset[int]) -> int:
        """The set ``atom`` where the sums have the given pieces."""
        if not pieces or self.sets.fixed(atom):
            return atom
        key = self._key(atom, pieces)
        if key in self.table:
            return self.table[key]
        # A set that is itself a restriction: both ways to it are one.
        for base, already in list(self.bases.get(self.sets.find(atom), ())):
            if base != key[0] and not already >= key[1]:
                self._state(*key, self.at(base, already | key[1]))
        if key not in self.table:
            self._state(*key, self.sets.new(self.sets.sizes[key[0]]))
        return self.table[key]

    def close(self) -> bool:
        """One round of consequences; whether anything changed."""
        for (atom, pieces), restricted in list(self.table.items()):
            root = self.sets.find(atom)
            if self.sets.fixed(root):
                self._unify(restricted, root)
                continue
            digits = self.sets.digits((root,))
            if digits != (root,):
                whole = tuple(self.at(d, pieces) for d in digits)
                if self.sets.digits((restricted,)) != self.sets.digits(whole):
                    self.sets.unify_axes((restricted,), whole)
                    self.changed = True
                continue
            if self.sets.is_sum(root):
                parts = [(self.at(p, pieces),) for p in self.sets.pieces(root)]
                (joined,) = self.sets.concatenate(parts)
                self._unify(restricted, joined)
                continue
            for piece in pieces:
                if not self._depends_on_piece(root, piece):
                    self._unify(restricted, self.at(root, pieces - {piece}))
        return self.changed

    def _depends_on_piece(self, atom: int, piece: int) -> bool:
        return any(
            self.sets.is_sum(on) and self.sets.find(piece) in self.sets.pieces(on)
            for on in self.depends.get(atom, ())
        )

    def rename(self, box: Box) -> Box:
        """The box with every set replaced by what it is in this box."""
        chosen = box.chosen()
        if not chosen:
            return box

        def own(digit: Digit) -> Digit:
            on = self.depends.get(digit.atom, frozenset())
            pieces = frozenset(z for _, x, z in chosen if x in on)
            atom = self.sets.find(self.at(digit.atom, pieces))
            return Digit(atom, digit.size, digit.stride)

        sides = tuple(
            Side(side.offset, tuple(own(d) for d in side.digits), side.chosen)
            for side in box.sides
        )
        return Box(box.tensor, sides)
