"""The page of a sweep."""

from pathlib import Path

import pytest

from zooalign.coverage.examine import Task, blank
from zooalign.coverage.report import write_report
from zooalign.errors import DataError


def row(name: str, family: str, **more: object) -> dict[str, object]:
    made = blank(Task(f"timm:{name}", name, family))
    made |= {
        "parameters": 1000,
        "log10_order": 12.5,
        "free_hidden_units": 0.5,
        "frozen": {"input": 1, "output": 2},
        "limits": [],
        "unknown_operators": {},
        "seconds": {"export": 2.0, "after_export": 1.0},
        "peak_bytes": 10**9,
    }
    return made | more


def check(ok: bool, error: float) -> dict[str, object]:
    return {
        "ok": ok,
        "max_relative_error": error,
        "tolerance": 1e-12,
        "verdict": "proved" if ok else "refuted",
        "why": "" if ok else "at aten.view",
        "how": "as it is",
    }


def test_totals_findings_and_limits(tmp_path: Path) -> None:
    limit = {"kind": "gave up", "operator": "o", "detail": "", "first": "w:0", "count": 3}
    error = {"stage": "export", "type": "TraceError", "message": "no"}
    rows = [
        row("good", "a"),
        row("wrong", "a", verification=check(False, 0.25), not_verified=None),
        row("limited", "b", frozen={"gave up": 3}, limits=[limit]),
        row("failed", "c", error=error, frozen=None, limits=None, log10_order=None),
    ]
    page, picture = write_report(rows, tmp_path / "table.md", source="folder/table.jsonl")
    text = page.read_text()
    assert picture == tmp_path / "images" / "table.svg" and picture.stat().st_size > 5000
    assert "4 architectures of timm in 3 families" in text
    assert "| spec derived | 3 |" in text and "| **refuted** | **1** |" in text
    assert "0 specs are proved operator by operator, 1 refuted, 0 not shown" in text
    assert "- `wrong`: refuted (as it is): at aten.view" in text
    assert "- `failed`: TraceError in stage export: no" in text
    assert "- `limited`: gave up, at o: `w:0`" in text
    assert "| gave up | 3 | 1 | **a limit of zooalign** |" in text
    assert "| a | 2 of 2 | `good` | 12.50 | 50.0 % | not asked for |  | 0.50, 0.50 |" in text
    assert "| c | 0 of 1 |" in text
    assert "folder" not in text
    again = picture.read_bytes()
    write_report(rows, page, source="table.jsonl")
    assert picture.read_bytes() == again


def test_the_command_says_how_much_was_run(tmp_path: Path) -> None:
    done = {"verification": check(True, 0.0), "not_verified": None}
    few = [row("one", "a", **done), row("two", "a"), row("three", "b")]
    most = [row("one", "a", **done), row("two", "a", **done), row("three", "b")]
    for rows, flags in ((few, " --no-converse"), (most, " --verify all --no-converse")):
        page, _ = write_report(rows, tmp_path / "page.md", source="x.jsonl")
        assert f"coverage --library timm{flags} --jobs 2 -o x.jsonl" in page.read_text()


def test_only_pages_of_something(tmp_path: Path) -> None:
    for name, rows in (("a.html", [row("good", "a")]), ("a.md", [])):
        with pytest.raises(DataError):
            write_report(rows, tmp_path / name, source="x")
    assert list(tmp_path.iterdir()) == []
