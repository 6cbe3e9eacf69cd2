"""Reading a card's metadata without trusting it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.errors import SpecError
from zooalign.release.front_matter import body_of, read_metadata

LAUGHS = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"


def block(text: str) -> str:
    return f"---\n{text}---\n\n# Title\n"


def test_what_is_read() -> None:
    text = block("license: mit\ntags:\n- a\n- b\nbase_model: org/name\n")
    assert read_metadata(text) == {"license": "mit", "tags": ["a", "b"], "base_model": "org/name"}
    assert body_of(text).strip() == "# Title"
    assert read_metadata("# No block\n") == {} and read_metadata("---\n\n---\n") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "aliases"),
        ("a: !!python/object/apply:os.system ['x']\n", "cannot be read"),
        ("license: mit\nlicense: gpl-3.0\n", "twice"),
        ("? [a, b]\n: c\n", "cannot be read|not text"),
        ("a: [\n", "cannot be read"),
        ("- a\n", "not a mapping"),
        ("a: " + "[" * 5000 + "\n", "cannot be read"),
        ("a: '" + "x" * 300_000 + "'\n", "over"),
        ("<<: {a: 1}\n? {x: 1}\n: y\n", "cannot be read"),
    ],
)
def test_tricks(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_metadata(block(text))


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(read_metadata(block(text + "\n")), dict)
