"""Index sets: equality, product, sum, restriction and fixed sets, what one implies of others."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.graph.index_sets import LIMIT, Cause, IndexSets
from zooalign.symmetry.solve import solve

CAUSE = Cause("test", "a test")


def _sizes(sets: IndexSets, axis: tuple[int, ...]) -> list[int]:
    return [sets.sizes[atom] for atom in sets.digits(axis)]


def test_an_axis_of_one_position_has_no_atom() -> None:
    sets = IndexSets()
    assert sets.axis(1) == ()
    assert sets.size(sets.axis(7)) == 7


def test_equality_refines_products() -> None:
    sets = IndexSets()
    a, b = (sets.new(2), sets.new(6)), (sets.new(4), sets.new(3))
    sets.unify_axes(a, b)
    assert _sizes(sets, a) == _sizes(sets, b) == [2, 2, 3]
    assert sets.digits(a) == sets.digits(b)


def test_factors_that_do_not_fit_are_fixed_with_a_reason() -> None:
    sets = IndexSets()
    a, b = (sets.new(2), sets.new(3)), (sets.new(3), sets.new(2))
    sets.operator = "aten.add 'add'"
    sets.unify_axes(a, b)
    cause = sets.fixed(a[0])
    assert cause is not None and cause.kind == "factors that do not fit"
    assert cause.operator == "aten.add 'add'"
    assert all(sets.fixed(atom) for atom in (*a, *b))


def test_different_sizes_are_refused() -> None:
    sets = IndexSets()
    with pytest.raises(ValueError, match="sizes 4 and 5"):
        sets.unify_axes(sets.axis(4), sets.axis(5))


def test_fixing_reaches_factors_pieces_and_equals() -> None:
    sets = IndexSets()
    whole, other = sets.new(6), sets.new(6)
    outer, inner = sets.split(whole, 3)
    piece = sets.piece(outer, 0, 1)
    sets.unify(whole, other)
    sets.fix((other,), CAUSE)
    assert all(sets.fixed(atom) is CAUSE for atom in (whole, other, outer, inner, piece))
    late = sets.piece(inner, 1, 3)
    assert sets.fixed(late) is CAUSE


def test_a_slice_and_the_whole_agree() -> None:
    sets = IndexSets()
    (a,) = axis = sets.axis(5)
    low, high = sets.segment(axis, 0, 2), sets.segment(axis, 2, 5)
    assert [sets.sizes[p] for p in sets.pieces(a)] == [2, 3]
    assert sets.digits(sets.concatenate([low, high])) == sets.digits(axis) or sets.pieces(
        sets.concatenate([low, high])[0]
    ) == sets.pieces(a)


def test_equal_sums_are_cut_alike() -> None:
    sets = IndexSets()
    (a,), (b,) = sets.axis(6), sets.axis(6)
    sets.piece(a, 0, 2)
    sets.piece(b, 0, 4)
    sets.unify(a, b)
    assert [sets.sizes[p] for p in sets.pieces(a)] == [2, 2, 2]
    assert sets.pieces(a) == sets.pieces(b)


def test_a_set_equal_to_its_shifted_copy_comes_to_an_end() -> None:
    sets = IndexSets()
    (a,) = axis = sets.axis(64)
    sets.unify_axes(sets.segment(axis, 0, 63), sets.segment(axis, 1, 64))
    sets.register([axis])
    assert len(set(sets.pieces(a))) <= 64
    assert [c.size for c in solve(sets).classes if not c.fixed and c.size > 1] == []


def test_reshape_of_a_sum_makes_blocks() -> None:
    """Six and two, laid out in four rows of two: three rows of one piece, one of the other."""
    sets = IndexSets()
    axis = sets.concatenate([sets.axis(6), sets.axis(2)])
    outer, _ = sets.factor(axis, 2)
    assert [sets.sizes[p] for p in sets.pieces(outer[0])] == [3, 1]


def test_an_order_may_depend_only_on_what_is_always_beside_it() -> None:
    sets = IndexSets()
    heads, dims = sets.axis(3), sets.axis(4)
    sets.register([(*heads, *dims)])
    assert sets.may_depend(dims[0], heads[0])
    assert [c.over for c in solve(sets).classes] == [()]  # they are one set of twelve
    sets.register([heads])
    assert not sets.may_depend(heads[0], dims[0])
    assert sorted((c.size, len(c.over)) for c in solve(sets).classes) == [(3, 0), (4, 1)]
    sets.register([dims])
    assert not sets.may_depend(dims[0], heads[0])
    assert [c.over for c in solve(sets).classes] == [(), ()]


def test_a_set_beside_itself_is_not_said_to_be_depended_on() -> None:
    """Dims met by tokens and by other tokens: an order for each token would not fit."""
    sets = IndexSets()
    tokens, dims = sets.axis(3), sets.axis(4)
    sets.register([tokens, dims])
    sets.register([tokens])
    sets.register([tokens, tokens, dims])
    assert [c.over for c in solve(sets).classes] == [(), ()]


axes = st.lists(st.sampled_from([2, 3, 4, 6]), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(axes, min_size=2, max_size=6), st.data())
def test_sizes_are_kept_whatever_is_stated(drawn: list[list[int]], data: st.DataObject) -> None:
    """Random statements: sizes of axes never change, classes cover what is free, it ends."""
    sets = IndexSets()
    made = [tuple(sets.new(n) for n in sizes) for sizes in drawn]
    for axis in made:
        sets.register([axis])
    for _ in range(data.draw(st.integers(1, 8))):
        axis = data.draw(st.sampled_from(made))
        size = sets.size(axis)
        kind = data.draw(st.sampled_from(["equal", "factor", "segment", "cat", "fix"]))
        if kind == "equal":
            same = [other for other in made if sets.size(other) == size]
            sets.unify_axes(axis, data.draw(st.sampled_from(same)))
        elif kind == "factor":
            inner = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
            outer, within = sets.factor(axis, inner)
            made.append((*outer, *within))
        elif kind == "segment":
            low = data.draw(st.integers(0, size - 1))
            made.append(sets.segment(axis, low, data.draw(st.integers(low + 1, size))))
        elif kind == "cat":
            made.append(sets.concatenate([axis, data.draw(st.sampled_from(made))]))
        else:
            sets.fix(axis, CAUSE)
        sets.register([made[-1]])
        assert sets.size(axis) == size
        assert prod(_sizes(sets, axis)) == size
    solution = solve(sets)
    for box in solution.boxes:
        for side in box.sides:
            for digit in side.digits:
                assert digit.size == sets.sizes[digit.atom]
                assert solution.classes[solution.parts[digit.atom].cls].size > 1


def test_the_same_pieces_are_one_sum_under_any_name() -> None:
    """A sum made anew at each look would keep the solution from an end."""
    sets = IndexSets()
    (a,), (b,), (c,), (d,) = (sets.axis(n) for n in (4, 4, 2, 2))
    (whole,) = sets.concatenate([(a,), (c,)])
    sets.unify(a, b)
    sets.unify(c, d)
    sets.tidy()
    size, version = len(sets.sizes), sets.version
    assert sets.concatenate([(b,), (d,)]) == sets.concatenate([(a,), (c,)]) == (sets.find(whole),)
    assert (len(sets.sizes), sets.version) == (size, version)


def test_a_limit_gives_way_to_a_fact_whichever_was_stated_first() -> None:
    limit, fact = Cause(LIMIT, "flip"), Cause("order", "cumsum")
    for first, second in ((limit, fact), (fact, limit)):
        sets = IndexSets()
        axis = sets.axis(6)
        outer, inner = sets.factor(axis, 3)
        sets.fix(axis, first)
        sets.fix(outer, second)
        assert sets.fixed(outer[0]) == fact
        assert sets.fixed(inner[0]) == first
        other = sets.axis(3, second)
        sets.unify_axes(inner, other)
        assert sets.fixed(inner[0]) == sets.fixed(other[0]) == fact
