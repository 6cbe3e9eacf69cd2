"""The axis notation: what it reads, and what it refuses with a reason."""

import pytest

from zooalign.graph.notation import parse


def test_stars_products_marks_and_optional_operands() -> None:
    pattern = parse("n (g c) *s!, ?(g o) [k] -> n g _ 1")
    image, weight = pattern.operands
    assert [len(axis.factors) for axis in image.axes] == [1, 2, 1]
    assert image.axes[2].star and image.axes[2].factors[0].fixed
    assert weight.optional and not image.optional
    assert weight.axes[1].factors[0].inside
    assert [axis.factors[0].name for axis in pattern.results[0].axes] == ["n", "g", "_", "1"]


def test_several_results() -> None:
    assert len(parse("a b -> a, b").results) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a b", "'->' is missing"),
        ("a ->", "nothing stands right"),
        ("*a *b -> a", "two '\\*'"),
        ("a+ -> a", "cannot read 'a\\+'"),
        ("[a -> a", "cannot read"),
        ("a] -> a", "cannot read"),
    ],
)
def test_mistakes_name_the_expression_and_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)
