"""`check` with its options, `reproduce` and `apply`, as commands."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_calls import Call
from documented_fields import documented
from released_pairs import Pairs, tamper


@pytest.fixture
def out(call: Call, pairs: Pairs, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    assert call("align", *pairs.vit, "-o", str(folder), "--method", "weight").code == 0
    return folder


def test_reports(call: Call, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tamper(out, "norm.weight")
    sarif = call("check", str(out), "--format", "sarif")
    assert sarif.code == 1 and sarif.err == ""
    [result] = sarif.json["runs"][0]["results"]
    assert result["ruleId"] == "weights.digests"
    assert result["locations"][0]["logicalLocations"][0]["name"] == "norm.weight"
    assert "weights&#46;digests" in summary.read_text() or "weights.digests" in summary.read_text()
    report = tmp_path / "junit.xml"
    junit = call("check", str(out), "--headers-only", "--format", "junit", "-o", str(report))
    assert junit.code == 0 and "in order" in junit.out
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None and suite.get("failures") == "0"
    assert summary.read_text().count("### zooalign check") == 2
    refused = call("check", str(out), "-o", str(report))
    assert refused.code == 2 and "--format" in refused.err


def test_a_policy(call: Call, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(out, "norm.weight")
    policy = tmp_path / "policy.toml"
    policy.write_text("disable = ['weights.digests']\n")
    done = call("check", str(out), "--policy", str(policy), "--format", "json")
    assert done.code == 0 and done.json["disabled"] == ["weights.digests"]
    (tmp_path / "pyproject.toml").write_text(
        "[tool.zooalign.check.severity]\n'weights.digests' = 'warning'\n"
    )
    monkeypatch.chdir(tmp_path)
    found = call("check", "./out", "--format", "json").json
    assert found["ok"] and found["findings"][0]["severity"] == "warning"
    policy.write_text("disabel = []\n")
    wrong = call("check", "./out", "--policy", str(policy), "--format", "json")
    assert wrong.code == 2 and "did you mean 'disable'" in wrong.json["error"]["message"]


def test_reproduce(call: Call, out: Path) -> None:
    done = call("reproduce", str(out), "--format", "json")
    assert done.code == 0 and set(done.json) == documented("reproduce") and done.json["same"]
    tamper(out, "norm.weight")
    human = call("reproduce", str(out))
    assert human.code == 1 and "differs norm.weight" in human.out
    (out / "zooalign/provenance.json").unlink()
    assert call("reproduce", str(out)).code == 2


def test_apply(call: Call, pairs: Pairs, out: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (out / "model.safetensors").rename(tmp_path / "kept.safetensors")
    done = call("apply", pairs.vit[1], str(out), "-o", str(made), "--format", "json")
    assert done.code == 0 and set(done.json) == documented("apply")
    kept = (tmp_path / "kept.safetensors").read_bytes()
    assert (made / "model.safetensors").read_bytes() == kept
    assert json.loads((made / "config.json").read_text()) == json.loads(
        (out / "config.json").read_text()
    )
    again = call("apply", pairs.vit[0], str(out), "-o", str(tmp_path / "no"))
    assert again.code == 2 and not (tmp_path / "no").exists()
