"""Every command on small models: exit codes, and JSON with exactly the documented fields."""

import json
from pathlib import Path

import pytest
from cli_calls import Call
from documented_fields import documented
from released_pairs import Pairs, tamper

from zooalign.symmetry.spec_file import from_json

pytestmark = pytest.mark.slow


def test_spec(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    spec_file, graph = tmp_path / "spec.json", tmp_path / "graph.graphml"
    done = call(
        "spec", pairs.vit[0], "-o", str(spec_file), "--graph", str(graph), "--format", "json"
    )
    assert done.code == 0 and done.err == ""
    assert set(done.json) == documented("spec")
    assert {"id", "size", "structure", "members"} <= set(done.json["groups"][0])
    assert {"parameter", "axis", "reason"} <= set(done.json["frozen"][0])
    written = from_json(spec_file.read_text())
    assert written.hash == done.json["hash"]
    assert written.proof is not None and written.proof.verdict == "proved"
    assert done.json["proof"]["verdict"] == "proved" and done.json["proof"]["operators"] > 0
    assert "<graphml" in graph.read_text()
    human = call("spec", "timm:test_vit?num_classes=3&img_size=32&depth=2")
    assert human.code == 0 and done.json["hash"][:16] in human.out
    assert "proved at" in human.out


def test_explain(call: Call, pairs: Pairs) -> None:
    done = call("explain", pairs.vit[0], "head.weight:1", "--format", "json")
    assert done.code == 0 and set(done.json) == documented("explain")
    assert done.json["axes"][0]["groups"][0]["id"] == "patch_embed.proj.weight:0"
    assert "output" in call("explain", pairs.vit[0], "head.weight:0").out
    for place in ("head.weigh", "head.weight:7", "head.weight:x"):
        assert call("explain", pairs.vit[0], place).code == 2


def test_verify(call: Call, pairs: Pairs) -> None:
    done = call("verify", pairs.vit[0], "--seed", "3", "--members", "2", "--format", "json")
    assert done.code == 0 and set(done.json) == documented("verify")
    assert done.json["ok"] and done.json["verdict"] == "proved" and done.json["groups"] == 9
    assert done.json["max_relative_error"] <= done.json["tolerance"]
    assert "PROVED" in call("verify", pairs.vit[0]).out


@pytest.mark.parametrize("method", ["weight", "activation"])
def test_align(call: Call, pairs: Pairs, tmp_path: Path, method: str) -> None:
    out = str(tmp_path / "out")
    arguments = ["align", *pairs.vit, "-o", out, "--method", method, "--data", pairs.data]
    done = call(*arguments, "--evaluate", pairs.data, "--alphas", "3", "--format", "json")
    assert done.code == 0, done.err
    assert set(done.json) == documented("align")
    assert done.json["output"] == out and done.json["method"] == method
    assert done.json["objective_after"] > done.json["objective_before"]
    made = json.loads((tmp_path / "out/zooalign/provenance.json").read_text())
    assert made["command"].startswith(f"zooalign align {pairs.vit[0]} {pairs.vit[1]} -o ")
    again = call(*arguments)
    assert again.code == 2 and "not empty" in again.err
    assert call(*arguments, "--overwrite").code == 0


def test_merge(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    arguments = ["merge", *pairs.resnet, "-o", out, "--method", "weight", "--starts", "2"]
    arguments += ["--refit-set", "memory=500000"]  # wide layers stay averaged: that is quick
    stale = call(*arguments, "--weights", "1,3", "--format", "json")
    assert stale.code == 0 and set(stale.json) == documented("merge")
    assert stale.json["stale_statistics"] and "STALE" in stale.err
    assert stale.json["weights"] == [0.25, 0.75]
    assert stale.json["aligned"][0]["details"]["starts"] == 2
    fresh = call(*arguments, "--data", pairs.data, "--evaluate", pairs.data, "--overwrite")
    assert (
        fresh.code == 0
        and "the merge on 48 predictions: loss" in fresh.out
        and "STALE" not in fresh.err
    )
    assert call("merge", pairs.vit[0], "-o", str(tmp_path / "x"), "--method", "none").code == 2
    assert call(*arguments, "--kind", "covariance", "--overwrite").code == 2


def test_barrier(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    plot = tmp_path / "curve.svg"
    arguments = ["barrier", *pairs.vit, "--data", pairs.data]
    done = call(*arguments, "--test", pairs.data, "--plot", str(plot), "--format", "json")
    assert done.code == 0 and set(done.json) == documented("barrier")
    assert len(done.json["alphas"]) == len(done.json["loss"]) == len(done.json["accuracy"]) == 25
    assert set(done.json["barrier"]["loss"]) == {"over_line", "over_mean"}
    assert plot.read_text().startswith("<?xml") and done.json["plot"] == str(plot)
    human = call(*arguments, "--align", "weight", "--alphas", "3")
    assert human.code == 0 and "over the line" in human.out and "alignment moves" in human.out


def test_check_and_publish(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("align", *pairs.vit, "-o", str(out), "--method", "weight").code == 0
    done = call("check", str(out), "--parent", pairs.vit[1], "--format", "json")
    assert done.code == 0 and set(done.json) == documented("check") and done.json["ok"]
    dry = call("publish", str(out), "--to", "org/name", "--dry-run", "--format", "json")
    assert dry.code == 0 and set(dry.json) == documented("publish")
    assert {"path", "size", "sha256"} == set(dry.json["files"][0])
    policy = tmp_path / "policy.toml"
    policy.write_text('require = ["parent.bytes"]\n')
    strict = ("publish", str(out), "--to", "org/name", "--dry-run", "--policy", str(policy))
    assert call(*strict).code == 1
    assert call(*strict, "--recorded-parents").code == 0
    tamper(out, "norm.weight")
    faulty = call("check", str(out), "--parent", pairs.vit[1], "--format", "json")
    assert faulty.code == 1
    assert {f["where"] for f in faulty.json["findings"] if f["id"] == "parent.bytes"} == {
        "norm.weight"
    }
    assert set(faulty.json["findings"][0]) == {
        *("id", "category", "severity", "where", "message", "fix", "file", "parameter"),
    }
    human = call("check", str(out))
    assert human.code == 1 and "weights.digests: norm.weight" in human.out
    refused = call("publish", str(out), "--to", "org/name", "--format", "json")
    assert refused.code == 1 and refused.json["commit"] is None and "--force" in refused.err


def test_plugins(call: Call) -> None:
    done = call("plugins", "--format", "json")
    assert done.code == 0 and set(done.json) == documented("plugins")
    assert [p["name"] for p in done.json["plugins"]][:2] == ["timm", "py"]
    assert "timm" in call("plugins").out
