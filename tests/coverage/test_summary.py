"""Counts by what goes in."""

from typing import Any

from zooalign.coverage.summary import by_modality, unknown_operators


def row(modality: str | None, **fields: Any) -> dict[str, Any]:
    usual = {"error": None, "verification": None, "unknown_operators": {}, "by_values": False}
    return {"modality": modality, **usual, **fields}


def test_each_kind_of_input_is_counted() -> None:
    good, bad = {"ok": True}, {"ok": False}
    rows = [
        row("text", verification=good, by_values=True),
        row("text", verification=bad),
        row("text", error={"stage": "export"}, unknown_operators=None),
        row("image", unknown_operators={"aten.a.default": 3, "aten.b.default": 1}),
        row("image", unknown_operators={"aten.a.default": 1}),
    ]
    found = by_modality(rows)
    assert list(found) == ["text", "image"]
    assert found["text"] == {
        "attempted": 3,
        "exported": 2,
        "by_values": 1,
        "verified": 1,
        "unsound": 1,
        "unknown_operators": 0,
    }
    assert found["image"]["unknown_operators"] == 2
    assert unknown_operators(rows) == {"aten.a.default": 2, "aten.b.default": 1}


def test_a_library_that_does_not_tell() -> None:
    assert by_modality([row(None)]) == {}
    assert by_modality([{**row(None), "modality": None}]) == {}
