"""Sweeps over the smallest of timm's models: fields, resuming, what fails."""

import dataclasses
import json
from pathlib import Path

import pytest

from zooalign.coverage.examine import Task, blank, examine
from zooalign.coverage.summary import findings, summarise
from zooalign.coverage.sweep import Plan, sweep
from zooalign.errors import ModelReferenceError

pytestmark = pytest.mark.slow

NAMES = ("test_vit", "test_resnet", "test_efficientnet")


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


def plan(**changes: object) -> Plan:
    return Plan("timm", **{"filters": NAMES, "verify": "none", **changes})  # type: ignore[arg-type]


def test_a_row_says_everything() -> None:
    task = Task("timm:test_resnet", "test_resnet", "resnet", verify=True)
    row = examine(task)
    assert row.keys() == blank(task).keys()
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["error"] is None and row["not_verified"] is None
    assert row["verification"]["ok"] and row["verification"]["how"] == "as it is"
    assert row["converse"]["ok"] and row["converse"]["transpositions"] > 0
    assert row["frozen"].keys() == {"input", "output", "kernel position"}
    assert row["free_hidden_units"] == 1 and 0.9 < row["free_parameters"] < 1
    assert row["seconds"].keys() >= {"build", "export", "graph", "spec", "after_export", "verify"}
    assert findings(row) == []


def test_what_is_over_the_budget_is_run_reduced_or_said_so() -> None:
    task = Task("timm:test_vit", "test_vit", "vision_transformer", verify=True, budget=300_000)
    row = examine(task)
    assert row["verification"]["ok"] and row["verification"]["how"].startswith("depth=2")
    none = examine(Task("timm:test_resnet", "test_resnet", "resnet", verify=True, budget=1000))
    assert none["verification"] is None and "more than 1000 parameters" in none["not_verified"]


def test_errors_are_rows() -> None:
    row = examine(Task("timm:test_resnet?no_such=1", "test_resnet", "resnet", verify=True))
    assert row["error"]["stage"] == "build" and "no_such" in row["error"]["message"]
    assert [f["name"] for f in findings(row)] == ["test_resnet"]


def test_it_continues_where_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    first = sweep(plan(), path, silent)
    assert {row["not_verified"] for row in first.values()} == {"not asked for"}
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["name"] for line in lines] == [*sorted(NAMES[1:]), NAMES[0]]
    marked = json.loads(lines[0]) | {"operators": -1}
    path.write_text(json.dumps(marked) + "\n" + lines[1] + lines[2][:40])
    steps: list[tuple[str, int, int]] = []
    second = sweep(plan(), path, lambda *step: steps.append(step))
    assert steps == [("architectures", 2, 3), ("architectures", 3, 3)]
    assert sum(row["operators"] == -1 for row in second.values()) == 1  # not done again
    assert {r: row["hash"] for r, row in second.items()} == {
        r: row["hash"] for r, row in first.items()
    }


def test_a_later_run_adds_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    names = ("test_vit", "test_vit4")
    options = (("img_size", 64), ("in_chans", 1))
    before = sweep(plan(filters=names[1:], options=options), path, silent)
    (row,) = before.values()
    assert row["reference"] == "timm:test_vit4?img_size=64&in_chans=1"
    assert row["inputs"] == [[2, 1, 64, 64]]
    after = sweep(
        plan(filters=names, options=options, verify="family", converse=False, jobs=2), path, silent
    )
    smallest = min(after.values(), key=lambda row: row["parameters"])
    assert [r for r, row in after.items() if row["verification"]] == [smallest["reference"]]
    totals = summarise(after.values())
    assert (totals["architectures"], totals["families"], totals["proved"]) == (2, 1, 1)
    assert len(path.read_text().splitlines()) == 2


def test_every_block_is_in_one_that_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    small = plan(filters=("test_vit", "test_vit4", "test_vit2"), options=(("img_size", 64),))
    sweep(small, path, silent)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["blocks"] = None  # a sweep that did not note them
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    wanted = dataclasses.replace(small, verify="blocks", converse=False)
    rows = sweep(wanted, path, silent)
    assert all("timm.models" in " ".join(row["blocks"]) for row in rows.values())
    totals = summarise(rows.values())
    assert totals["blocks"]["all"] == totals["blocks"]["verified"] > 5
    # What has nothing of its own, and is not the smallest of its family, is not run.
    seen = {b for r in rows.values() if r["verification"] for b in r["blocks"]}
    for row in rows.values():
        assert row["verification"] or set(row["blocks"]) <= seen


def test_only_libraries_with_a_list() -> None:
    with pytest.raises(ModelReferenceError, match="does not list"):
        sweep(Plan("py"), "unused", silent)
    with pytest.raises(ModelReferenceError, match="no architecture fits"):
        sweep(plan(filters=("no_such_*",)), "unused", silent)
