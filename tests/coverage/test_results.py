"""The file of a sweep: whole lines, continued, tidied."""

import json
from pathlib import Path

import pytest

from zooalign.coverage.results import Results, read_results
from zooalign.errors import DataError


def row(name: str, **more: object) -> dict[str, object]:
    return {"reference": f"timm:{name}", "family": name[0], "seconds": {}, **more}


def test_a_cut_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    with Results(path) as results:
        results.add(row("b"))
        results.add(row("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps(row("c")).encode()[:25])
    assert read_results(path).keys() == {"timm:a", "timm:b"}
    with Results(path) as results:
        assert results.rows.keys() == {"timm:a", "timm:b"}
        results.add(row("c"))
    assert [json.loads(line)["reference"][-1] for line in path.read_text().splitlines()] == [*"bac"]


def test_the_last_line_of_a_name_counts_and_tidy_leaves_one_each(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    with Results(path) as results:
        for new in (row("b"), row("a", number=1), row("a", number=2)):
            results.add(new)
        assert path.read_text().count("\n") == 3
        results.tidy()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["reference"], line.get("number")) for line in lines] == [
        ("timm:a", 2),
        ("timm:b", None),
    ]


@pytest.mark.parametrize("content", ["notes\n", "notes", '{"a": 1}\n', "[]\n", "1\n"])
def test_other_files_are_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(DataError, match="notes"):
        Results(path)
    assert path.read_text() == content


def test_one_sweep_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    with Results(path), pytest.raises(DataError, match="another sweep"):
        Results(path)
    with Results(path):
        pass
