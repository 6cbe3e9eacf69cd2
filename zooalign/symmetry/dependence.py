"""Which index sets may be ordered per value of which others; restrictions to a fixed point.

An index set *a* may have an order for each value of *b* if every tensor that has *a* has *b* too,
and no operator brings *a* at one *b* together with *a* at another. Operators say the second as the
first: what they do not grant is bound without *b*
(:meth:`~zooalign.graph.index_sets.IndexSets.bound`).
So what is left to ask is which sets are together wherever the one occurs. These relations form a
preorder; the permutations that respect it are a generalised wreath product (Bailey,
Praeger, Rowley, Speed: "Generalized wreath products of permutation groups", Proc. London Math.
Soc. 47, 1983). Chains of it are nested groups (heads, with dims inside each); sets that depend on
each other are one joint set.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

from zooalign.graph.index_sets import Axis, Cause, IndexSets
from zooalign.symmetry.boxes import Box, Depends, boxes, depended_on, may_restrict, uncut

__all__ = ["dependence", "propagate_to_fixpoint"]

# Each round merges or refines sets, so few are needed; this bounds what a defect may cost.
_MOST_ROUNDS = 200


def dependence(sets: IndexSets, all_boxes: Iterable[Box]) -> dict[int, frozenset[int]]:
    """For every index set, the sets its order may depend on (itself left out).

    A set that occurs twice in a box, also inside a sum, cannot be depended on there, unless one of
    the two is a factor of the same entry: otherwise it is not known which one is meant.
    """
    allowed_by_atom: dict[int, set[int]] = {}
    never = sets.never_depended_on()
    known: set[object] = set()
    for box in all_boxes:
        digits = [((n, d.entry), d) for n, side in enumerate(box.sides) for d in side.digits]
        cut = [
            ((n, entry), x)
            for n, side in enumerate(box.sides)
            for (x, _), entry in zip(side.chosen, side.chosen_in, strict=True)
        ]
        present = [*((place, d.atom) for place, d in digits if d.size != 1), *cut]
        key = (tuple(present), tuple((d.atom, d.of) for _, d in digits))
        if key in known:
            continue
        known.add(key)
        beside: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for place, atom in present:
            beside[place][atom] += 1
        # A set may also occur inside a sum.
        inside = {digit.atom: sets.inside(digit.atom) for _, digit in digits}
        sums = [(place, inside[digit.atom]) for place, digit in digits if inside[digit.atom]]
        total = Counter(atom for _, atom in present)
        if sums:
            total.update({a: sum(counts[a] for _, counts in sums) for a in total})
            for place, counts in sums:
                beside[place].update({a: counts[a] for a in beside[place]})
        single = {atom for atom, count in total.items() if count == 1}
        within = {
            place: {a for a, count in counts.items() if count == 1}
            for place, counts in beside.items()
        }
        for place, digit in digits:
            allowed = single | within[place]
            allowed -= digit.of
            if inside[digit.atom]:
                allowed -= inside[digit.atom].keys()
            allowed_by_atom[digit.atom] = allowed_by_atom.get(digit.atom, allowed) & allowed
    for atom, on in allowed_by_atom.items():
        on.discard(atom)
    return {atom: frozenset(on - never) for atom, on in allowed_by_atom.items()}


def propagate_to_fixpoint(sets: IndexSets) -> list[Box]:
    """Propagate restrictions to a fixed point and return the boxes of all tensors, in order.

    Where a set does not depend on the sum it was restricted along, the restricted sets are the set
    itself; where it does, each box has a set of its own. The first guess, from whole tensors, lets
    sets depend on too much rather than too little: sets that were separated can still be unified,
    but not the reverse.
    """
    alike = _alike(sets)
    depends = dependence(sets, (uncut(sets, n, sets.tensors[n]) for n, *_ in alike))
    for _ in range(_MOST_ROUNDS):
        before = sets.version
        seen = list(_all_boxes(sets, alike, depends))
        now = dependence(sets, (box for box, _ in seen))
        _agree(sets, now)
        if sets.version == before and now == depends:
            return _last_boxes(seen, alike)
        depends, alike = now, _alike(sets)
    cause = Cause("relations without a fixed point", "the solution of all relations")
    for axes in sets.tensors:
        for axis in axes:
            sets.fix(axis, cause)
    alike = _alike(sets)
    return _last_boxes(_all_boxes(sets, alike, {}), alike)


def _alike(sets: IndexSets) -> list[list[int]]:
    """Numbers of tensors with the same sets on the same axes: what holds for one holds for all."""
    by_sets: dict[object, list[int]] = defaultdict(list)
    for number, axes in enumerate(sets.tensors):
        by_sets[tuple(tuple(sets.digits((a,)) for a in axis) for axis in axes)].append(number)
    return list(by_sets.values())


def _all_boxes(
    sets: IndexSets, alike: Iterable[Sequence[int]], depends: Depends
) -> Iterator[tuple[Box, bool]]:
    """All boxes of one tensor of each kind, and whether each is a last one."""
    matters = depended_on(sets, depends)
    for number, *_ in alike:
        yield from boxes(sets, uncut(sets, number, sets.tensors[number]), depends, matters)


def _last_boxes(seen: Iterable[tuple[Box, bool]], alike: Iterable[Sequence[int]]) -> list[Box]:
    """The last boxes of every tensor, in order of the tensors."""
    of_first: dict[int, list[Box]] = defaultdict(list)
    for box, is_last in seen:
        if is_last:
            of_first[box.tensor].append(box)
    numbered = [(n, box) for numbers in alike for n in numbers for box in of_first[numbers[0]]]
    numbered.sort(key=lambda pair: pair[0])
    return [box if box.tensor == n else replace(box, tensor=n) for n, box in numbered]


def _agree(sets: IndexSets, depends: Depends) -> None:
    """Draw the consequences of what is known about sets in parts of sums.

    Those of independence come first: they unify sets, and so change what depends on what.
    """
    sets.tidy()
    depends = _inherited(sets, depends)
    for dependent in (False, True):
        before = sets.version
        for (atom, on, low, high), restricted in list(sets.restrictions.items()):
            if _known(sets, atom, depends) and dependent == may_restrict(
                sets, sets.find(atom), sets.find(on), depends
            ):
                _follow(sets, atom, _Part(on, low, high, restricted), depends)
        if sets.version != before:
            return
    _commute(sets, depends)


def _follow(sets: IndexSets, atom: int, part: "_Part", depends: Depends) -> None:
    """What a set is in a piece of a part of a sum, it also is in that piece of the sum."""
    on, low, high = part.on, part.low, part.high
    if sets.product_of(on) is not None:  # it became a product, which has no parts
        _one(sets, (atom,), (part.restricted,))
        return
    piece = sets.piece(on, low, high)
    for start, stop in sets.spans(on, low, high):
        left = _where(sets, (atom,), on, start, stop, depends)
        right = _where(sets, (part.restricted,), piece, start - low, stop - low, depends)
        _one(sets, left, right)


def _one(sets: IndexSets, left: Axis, right: Axis) -> None:
    if sets.digits(left) != sets.digits(right):
        sets.unify_axes(left, right)


@dataclass(frozen=True)
class _Part:
    """A set, where the sum ``on`` takes values ``low`` to ``high``."""

    on: int
    low: int
    high: int
    restricted: int

    def of(self, sets: IndexSets, atom: int, depends: Depends) -> int:
        """What another set is there."""
        return sets.wrap(_where(sets, (atom,), self.on, self.low, self.high, depends))


def _commute(sets: IndexSets, depends: Depends) -> None:
    """A set in parts of two sums is the same set whichever of the two is cut first."""
    along: dict[int, list[_Part]] = defaultdict(list)
    for (atom, on, low, high), restricted in sets.restrictions.items():
        differs = sets.find(restricted) != atom and sets.is_sum(on)
        if (
            differs
            and sets.spans(on, low, high) == [(low, high)]
            and _known(sets, restricted, depends)
        ):
            along[atom].append(_Part(on, low, high, restricted))
    for parts in along.values():
        for p, q in combinations(parts, 2):
            if p.on != q.on:
                _crossed(sets, p, q, depends)


def _crossed(sets: IndexSets, p: _Part, q: _Part, depends: Depends) -> None:
    """The part of a set at ``p``, there at ``q``, is its part at ``q``, there at ``p``."""
    q_at_p, p_at_q = p.of(sets, q.on, depends), q.of(sets, p.on, depends)
    q_part = p.of(sets, sets.piece(q.on, q.low, q.high), depends)
    p_part = q.of(sets, sets.piece(p.on, p.low, p.high), depends)
    for x, y in product(sets.spans(q_part), sets.spans(p_part)):
        left = _where(sets, (p.restricted,), q_at_p, q.low + x[0], q.low + x[1], depends)
        right = _where(sets, (q.restricted,), p_at_q, p.low + y[0], p.low + y[1], depends)
        _one(
            sets,
            _where(sets, left, p_part, *y, depends),
            _where(sets, right, q_part, *x, depends),
        )


def _inherited(sets: IndexSets, depends: Depends) -> Depends:
    """A set that occurs in no tensor by itself depends on what the set it is a part of does."""
    inherited = dict(depends)
    waiting = [
        (atom, part, leaf)
        for (atom, on, low, high), r in list(sets.restrictions.items())
        if sets.product_of(on) is None
        for part in [sets.piece(on, low, high)]
        for leaf in _leaves(sets, r)
    ]
    while True:
        rest = []
        for atom, piece, leaf in waiting:
            if leaf in inherited:
                continue
            if atom in inherited:
                inherited[leaf] = inherited[atom] | {piece}
            else:
                rest.append((atom, piece, leaf))
        if len(rest) == len(waiting):
            return inherited
        waiting = rest


def _leaves(sets: IndexSets, atom: int) -> Iterator[int]:
    for digit in sets.digits((atom,)):
        for piece in sets.pieces(digit):
            if piece == digit or sets.sizes[piece] == 1:
                yield piece
            else:
                yield from _leaves(sets, piece)


def _known(sets: IndexSets, atom: int, depends: Depends) -> bool:
    """Whether the set occurs in any tensor: otherwise nothing follows from it."""
    return any(
        leaf in depends or sets.fixed(leaf) or sets.sizes[leaf] == 1 for leaf in _leaves(sets, atom)
    )


def _where(sets: IndexSets, axis: Axis, on: int, low: int, high: int, depends: Depends) -> Axis:
    """The axis where the sum ``on`` has values ``low`` to ``high``."""
    on, there = sets.find(on), []
    for digit in sets.digits(axis):
        if (low, high) == (0, sets.sizes[on]) or not may_restrict(sets, digit, on, depends):
            there.append(digit)
            continue
        part = sets.restricted(digit, on, low, high)
        if sets.is_sum(digit):
            _as_parts(sets, digit, part, (on, low, high), depends)
        there.append(part)
    return tuple(there)


def _as_parts(
    sets: IndexSets, whole: int, restricted: int, part: tuple[int, int, int], depends: Depends
) -> None:
    """A sum, where another has some of its values, is the sum of its pieces there."""
    parts = [
        (piece,) if sets.sizes[piece] == 1 else _where(sets, (piece,), *part, depends)
        for piece in sets.pieces(whole)
    ]
    _one(sets, (restricted,), sets.concatenate(parts))
