"""Specs, permutations and provenance made to harm, under the gate and under ``apply``."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from released_pairs import Pairs, edit_json

from zooalign.cli import main

pytestmark = pytest.mark.slow

GROUP = "blocks.0.mlp.fc1.weight:0"


@pytest.fixture
def release(tmp_path: Path, aligned: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(aligned, "release"))


def refused(pairs: Pairs, capsys: pytest.CaptureFixture[str], family: str) -> None:
    """A finding of the gate, and exit code 2 of ``apply``; nothing is written."""
    assert main(["check", "./release", "--format", "json"], standalone_mode=False) == 1
    found = capsys.readouterr()
    assert any(f["id"].startswith(family) for f in json.loads(found.out)["findings"])
    assert "bug in zooalign" not in found.err
    words = ["apply", pairs.vit[1], "./release", "-o", "out", "--format", "json"]
    assert main(words, standalone_mode=False) == 2
    found = capsys.readouterr()
    assert "bug in zooalign" not in found.err and "Traceback" not in found.err
    assert json.loads(found.out)["error"]["type"] in ("SpecError", "CheckpointError"), found.out
    assert [p.name for p in Path().iterdir()] == ["release"]


def change_spec(path: Path, what: str) -> None:
    body = json.loads(path.read_text())
    group = next(g for g in body["groups"] if g["id"] == GROUP)
    block = group["members"][0]["positions"][0]
    if what == "wrong length":
        group["size"] += 1
    elif what == "repeats":
        group["members"][0]["positions"] = [dict(block, count=block["count"] // 2)] * 2
    elif what == "out of range":
        block["offset"] = 10**12
    elif what == "negative":
        block["offset"] = -1
    elif what == "float":
        block["first"] = 0.0
    elif what == "true":
        group["members"][0]["axis"] = True
    elif what == "huge":
        group["size"] = block["count"] = 2**47
    elif what == "unknown parameter":
        group["members"][0]["parameter"] = "../../etc/passwd"
    elif what == "a million axes":
        body["shapes"]["head.weight"] = [2**40] * 200_000
    elif what == "no groups":
        body["groups"] = None
    elif what == "nested too deep":
        path.write_text("[" * 200_000)
        return
    elif what == "another hash":
        body["hash"] = "0" * 64
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    "what",
    [
        *("wrong length", "repeats", "out of range", "negative", "float", "true", "huge"),
        *("unknown parameter", "a million axes", "no groups", "nested too deep", "another hash"),
    ],
)
def test_hostile_spec(release: Path, pairs: Pairs, capsys: Any, what: str) -> None:
    change_spec(release / "zooalign/spec.json", what)
    refused(pairs, capsys, "spec.")


INDICES = {
    "too short": lambda p: p[:-1],
    "too long": lambda p: [*p, len(p)],
    "repeats": lambda p: [p[1], *p[1:]],
    "out of range": lambda p: [10**6, *p[1:]],
    "negative": lambda p: [-1 if i == len(p) - 1 else i for i in p],
    "floats": lambda p: [float(i) for i in p],
    "texts": lambda p: [str(i) for i in p],
    "beyond 64 bits": lambda p: [2**70, *p[1:]],
    "unsigned wrap": lambda p: [2**64 - 1, *p[1:]],
    "ragged": lambda p: [p, p[:1]],
    "nested": lambda p: [p],
    "null": lambda p: None,
    "a table": lambda p: {"0": 1},
}


@pytest.mark.parametrize("what", INDICES)
def test_hostile_permutation(release: Path, pairs: Pairs, capsys: Any, what: str) -> None:
    path = release / "zooalign/permutation.json"
    indices = json.loads(path.read_text())["indices"]
    edit_json(path, indices={**indices, GROUP: INDICES[what](indices[GROUP])})
    refused(pairs, capsys, "permutation.")


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1e999},
        {"sources": []},
        {"sources": [{"role": "../.."}]},
        {"sources": 7},
        {"alignments": [{"source": 10**9}]},
        {"operation": "\x1b[2J"},
        {"log10_order": "many"},
        {"architecture": None},
        {"data": {"reference": "x", "evil": 1}},
        {"version": 2},
        {"command": "zooalign align \ud800"},
    ],
)
def test_hostile_provenance(
    release: Path, pairs: Pairs, capsys: Any, fields: dict[str, Any]
) -> None:
    path = release / "zooalign/provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    refused(pairs, capsys, "provenance.")
