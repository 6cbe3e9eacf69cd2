"""Which index sets may be ordered per value of which others, and restrictions brought to an end.

An index set *a* may have an own order for each value of *b* exactly where every tensor that has
*a* has *b* too, in one box: then no operator ever meets *a* without knowing *b*. These relations
form a preorder; the permutations that respect it are a generalised wreath product (Bailey,
Praeger, Rowley, Speed: "Generalized wreath products of permutation groups", Proc. London Math.
Soc. 47, 1983). Chains of it are nested groups (heads, with dims inside each); sets that depend on
each other are one joint set.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, product

from zooalign.graph.index_sets import Axis, Cause, IndexSets
from zooalign.symmetry.boxes import Box, Depends, boxes, depended_on, may_restrict, uncut

__all__ = ["dependence", "settle"]

# Each round merges or refines sets, so an end comes early; this only bounds a defect.
_MOST_ROUNDS = 200


def dependence(all_boxes: Iterable[Box]) -> dict[int, frozenset[int]]:
    """For every index set, the sets its order may depend on (itself left out).

    A set that stands twice in a box cannot be depended on there, unless one of the two shares
    the axis of the dependent set: otherwise it would not be said which of the two is meant.
    """
    found: dict[int, set[int]] = {}
    known: set[object] = set()
    for box in all_boxes:
        digits = [(n, d) for n, side in enumerate(box.sides) for d in side.digits]
        present = [*box.atoms(), *((n, x) for n, x, _ in box.chosen())]
        key = (tuple(present), tuple(d.of for _, d in digits))
        if key in known:
            continue
        known.add(key)
        total = Counter(atom for _, atom in present)
        single = {atom for atom, count in total.items() if count == 1}
        beside: dict[int, Counter[int]] = defaultdict(Counter)
        for number, atom in present:
            beside[number][atom] += 1
        for number, digit in digits:
            allowed = single | {other for other, count in beside[number].items() if count == 1}
            allowed -= digit.of
            found[digit.atom] = found.get(digit.atom, allowed) & allowed
    return {atom: frozenset(on - {atom}) for atom, on in found.items()}


def settle(sets: IndexSets) -> list[Box]:
    """Bring all restrictions to an end and return the boxes of all tensors, in order.

    Where a set turns out not to depend on the sum it was restricted along, the restricted sets
    are the set itself; where it does, each box gets its own. The first guess, from whole tensors,
    lets sets depend on too much rather than too little: what was taken apart can still be made
    one, not the other way round.
    """
    depends = dependence(uncut(sets, n, axes) for n, axes in enumerate(sets.tensors))
    for _ in range(_MOST_ROUNDS):
        before = sets.version
        seen = list(_all_boxes(sets, depends))
        now = dependence(box for box, _ in seen)
        _agree(sets, now)
        if sets.version == before and now == depends:
            return [box for box, is_last in seen if is_last]
        depends = now
    cause = Cause("relations without an end", "the solution of all relations")
    for axes in sets.tensors:
        for axis in axes:
            sets.fix(axis, cause)
    return [part for part, is_last in _all_boxes(sets, {}) if is_last]


def _all_boxes(sets: IndexSets, depends: Depends) -> Iterator[tuple[Box, bool]]:
    matters = depended_on(sets, depends)
    for number, axes in enumerate(sets.tensors):
        yield from boxes(sets, uncut(sets, number, axes), depends, matters)


def _agree(sets: IndexSets, depends: Depends) -> None:
    """Draw the consequences of what is known about sets in parts of sums."""
    sets.tidy_restrictions()
    depends = _inherited(sets, depends)
    for (atom, on, piece), restricted in list(sets.restrictions.items()):
        for leaf in sets.pieces(piece):
            if _known(sets, atom, depends):
                left = _where(sets, (atom,), on, leaf, depends)
                right = _where(sets, (restricted,), piece, leaf, depends)
                _one(sets, left, right)
    _commute(sets, depends)


def _one(sets: IndexSets, left: Axis, right: Axis) -> None:
    if sets.digits(left) != sets.digits(right):
        sets.unify_axes(left, right)


def _commute(sets: IndexSets, depends: Depends) -> None:
    """A set in parts of two sums is the same whichever of the two is cut first."""
    along: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for (atom, on, piece), restricted in sets.restrictions.items():
        own = sets.find(restricted) != atom and sets.pieces(piece) == (piece,)
        if own and sets.is_sum(on) and _known(sets, restricted, depends):
            along[atom].append((on, piece, restricted))
    for found in along.values():
        for (p, p_piece, at_p), (q, q_piece, at_q) in combinations(found, 2):
            if p != q:
                q_there = [sets.wrap(_where(sets, (x,), p, p_piece, depends)) for x in (q, q_piece)]
                p_there = [sets.wrap(_where(sets, (x,), q, q_piece, depends)) for x in (p, p_piece)]
                for x, y in product(sets.pieces(q_there[1]), sets.pieces(p_there[1])):
                    left = _where(sets, (at_p,), q_there[0], x, depends)
                    right = _where(sets, (at_q,), p_there[0], y, depends)
                    _one(
                        sets,
                        _where(sets, left, p_there[1], y, depends),
                        _where(sets, right, q_there[1], x, depends),
                    )


def _inherited(sets: IndexSets, depends: Depends) -> Depends:
    """Sets that stand in no tensor by themselves depend on what the set they are part of does."""
    found = dict(depends)
    waiting = [
        (a, piece, x) for (a, _, piece), r in sets.restrictions.items() for x in _leaves(sets, r)
    ]
    while True:
        rest = []
        for atom, piece, leaf in waiting:
            if leaf in found:
                continue
            if atom in found:
                found[leaf] = found[atom] | {piece}
            else:
                rest.append((atom, piece, leaf))
        if len(rest) == len(waiting):
            return found
        waiting = rest


def _leaves(sets: IndexSets, atom: int) -> Iterator[int]:
    for digit in sets.digits((atom,)):
        for piece in sets.pieces(digit):
            if piece == digit or sets.sizes[piece] == 1:
                yield piece
            else:
                yield from _leaves(sets, piece)


def _known(sets: IndexSets, atom: int, depends: Depends) -> bool:
    """Whether the set stands in any tensor: what is nowhere has no consequences."""
    return any(
        leaf in depends or sets.fixed(leaf) or sets.sizes[leaf] == 1 for leaf in _leaves(sets, atom)
    )


def _where(sets: IndexSets, axis: Axis, on: int, leaf: int, depends: Depends) -> Axis:
    """The axis where the sum ``on`` has the value ``leaf``."""
    on, found = sets.find(on), []
    for digit in sets.digits(axis):
        if on == leaf or not may_restrict(sets, digit, on, depends):
            found.append(digit)
            continue
        own = sets.own(digit, on, leaf)
        if sets.is_sum(digit):
            _as_parts(sets, digit, own, on, leaf, depends)
        found.append(own)
    return tuple(found)


def _as_parts(sets: IndexSets, whole: int, own: int, on: int, leaf: int, depends: Depends) -> None:
    """A sum, where another has one value, is the sum of its pieces there."""
    parts = [
        (piece,) if sets.sizes[piece] == 1 else _where(sets, (piece,), on, leaf, depends)
        for piece in sets.pieces(whole)
    ]
    joined = sets.concatenate(parts)
    if sets.digits((own,)) != sets.digits(joined):
        sets.unify_axes((own,), joined)
