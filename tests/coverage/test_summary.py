"""Counts by what goes in."""

import json
from pathlib import Path
from typing import Any

from zooalign.coverage.results import read_results
from zooalign.coverage.summary import by_modality, summarise, unknown_operators


def row(modality: str | None, **fields: Any) -> dict[str, Any]:
    usual = {"error": None, "verification": None, "unknown_operators": {}, "by_values": False}
    return {"modality": modality, **usual, **fields}


def test_each_kind_of_input_is_counted() -> None:
    proved, refuted = {"ok": True, "verdict": "proved"}, {"ok": False, "verdict": "refuted"}
    rows = [
        row("text", verification=proved, by_values=True),
        row("text", verification=refuted),
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
        "proved": 1,
        "held": 0,
        "refuted": 1,
        "not_shown": 0,
        "unknown_operators": 0,
    }
    assert found["image"]["unknown_operators"] == 2
    assert unknown_operators(rows) == {"aten.a.default": 2, "aten.b.default": 1}


def old_line(ok: bool) -> bytes:
    """A line of a version that ran the whole network and had no verdict."""
    check = {"ok": ok, "max_relative_error": 1e-15, "tolerance": 1e-12, "sensitivity": 0.1}
    line = {
        **{"reference": f"timm:{ok}", "name": str(ok), "family": "a", "error": None},
        **{"verification": {**check, "worst": "all", "how": "as it is"}, "converse": None},
        **{"frozen": {}, "unknown_operators": {}, "peak_bytes": None},
        "seconds": {"export": 1.0, "after_export": 0.5},
    }
    return json.dumps(line).encode() + b"\n"


def test_what_is_not_shown_is_not_refuted_and_old_lines_are_no_proofs(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(old_line(True) + old_line(False))
    held, wrong = read_results(file).values()
    verdicts = [{"ok": v == "proved", "verdict": v} for v in ("proved", "not shown", "refuted")]
    usual = {"why": "w", "how": "as it is", "max_relative_error": 0.0}
    new = [{**held, "verification": {**usual, **v}} for v in verdicts]
    totals = summarise([held, wrong, *new])
    counts = {name: totals[name] for name in ("proved", "held", "refuted", "not_shown")}
    assert counts == {"proved": 1, "held": 1, "refuted": 2, "not_shown": 1}
    words = [finding["what"].partition(" (")[0] for finding in totals["findings"]]
    assert words == ["refuted", "not shown", "refuted"]


def test_a_library_that_does_not_tell() -> None:
    assert by_modality([row(None)]) == {}
    assert by_modality([{**row(None), "modality": None}]) == {}
