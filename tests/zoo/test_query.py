"""Options behind a '?'."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.errors import DataError
from zooalign.zoo.references import Value, format_query, options_to_json, parse_query

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


def parse(query: str) -> dict[str, object]:
    return options_to_json(parse_query(query, of=query, error=DataError))


@given(st.dictionaries(names, values, max_size=4).filter(bool))
def test_what_is_formatted_parses_back(options: dict[str, Value]) -> None:
    frozen = tuple(sorted(options.items()))
    again = parse_query(format_query(frozen), of="", error=DataError)
    assert repr(again) == repr(frozen)  # repr tells 1 from True from 1.0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&b=0.5", {"a": 1, "b": 0.5}),
        ("a=[96,96]", {"a": [96, 96]}),
        ("a=true&b=null", {"a": True, "b": None}),
        ("a=gelu", {"a": "gelu"}),
        ('a="10"', {"a": "10"}),
        ("a=", {"a": ""}),
        ("a=x=y", {"a": "x=y"}),
        ("a=x%26y", {"a": "x&y"}),
        ("a=0:500", {"a": "0:500"}),
        ("a=NaN", {"a": "NaN"}),
    ],
)
def test_values(query: str, expected: dict[str, object]) -> None:
    assert parse(query) == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "has no '='"),
        ("a", "'a' has no '='"),
        ("a=1&", "'' has no '='"),
        ("a=1&a=2", "'a' is given twice"),
        ("a-b=1", "'a-b' is not an option name"),
        ('a={"b":1}', "a JSON object is not supported"),
        ("a=False", "write false"),
        ("a=1e999", "too large"),
        ("a=%ff", "'a'"),
    ],
)
def test_malformed(query: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse(query)
