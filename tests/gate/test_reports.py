"""Reports for machines: valid by their standards, and hostile names mean nothing in them."""

from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from stored_schemas import SARIF, stored_schema

from zooalign.cli import main
from zooalign.gate.checks import all_checks
from zooalign.gate.findings import CheckReport, Finding, Severity
from zooalign.gate.reports import sarif as sarif_report
from zooalign.gate.reports import (
    to_junit,
    to_markdown,
    to_sarif,
    write_step_failure,
    write_step_summary,
)
from zooalign.text import printable

HOSTILE = (
    "evil\x1b[2J\n| `x` </code><img src=x onerror=alert(1)> @team \u202e\ud800 ]]> [a](http://b)"
)


def finding(id: str, severity: Severity, where: str, file: str | None = None) -> Finding:
    return Finding(
        id, severity, printable(where), printable(f"is wrong: {where}"), "repair it", file, None
    )


@pytest.fixture
def report() -> CheckReport:
    return CheckReport(
        reference="org/name",
        findings=(
            finding("weights.finite", "error", "a.weight", "model 1.safetensors"),
            finding("weights.finite", "warning", "b.weight"),
            finding("card.data", "note", HOSTILE, printable(HOSTILE)),
            Finding("plugin.own", "error", "x", "of a plugin that is gone"),
        ),
        checks=("weights.finite", "card.data", "spec.hash"),
        skipped=("parent.bytes",),
        unasked=("statistics.fresh",),
        disabled=("files.code",),
        commit="a" * 40,
    )


@pytest.fixture(scope="session")
def sarif() -> jsonschema.protocols.Validator:
    return jsonschema.Draft7Validator(
        stored_schema(SARIF), format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    )


def test_sarif(report: CheckReport, sarif: jsonschema.protocols.Validator) -> None:
    body = to_sarif(report, all_checks())
    sarif.validate(body)
    [run] = body["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert "files.code" not in rules  # disabled
    assert len(rules) == len(set(rules)) == len(all_checks()) - 1
    for result, found in zip(run["results"], report.findings, strict=True):
        assert result["ruleId"] == found.id and result["level"] == found.severity
        if "ruleIndex" in result:
            assert rules[result["ruleIndex"]] == found.id
    assert "ruleIndex" not in run["results"][3]
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "model%201.safetensors"
    prints = [r["partialFingerprints"]["zooalign/v1"] for r in run["results"]]
    assert len(set(prints)) == 4
    assert run["invocations"][0]["exitCode"] == 1


def test_links_lead_where_the_distribution_says(
    report: CheckReport, sarif: jsonschema.protocols.Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And to no place that is not ours, where it says nothing."""
    monkeypatch.setattr(sarif_report, "documentation", lambda: None)
    driver = to_sarif(report, all_checks())["runs"][0]["tool"]["driver"]
    assert "informationUri" not in driver and "helpUri" not in driver["rules"][0]
    monkeypatch.setattr(sarif_report, "documentation", lambda: "https://a.org/docs/checks.md")
    body = to_sarif(report, all_checks())
    sarif.validate(body)
    rule = body["runs"][0]["tool"]["driver"]["rules"][0]
    assert rule["helpUri"] == "https://a.org/docs/checks.md#" + rule["id"].replace(".", "")


def test_the_schema_refuses(report: CheckReport, sarif: jsonschema.protocols.Validator) -> None:
    body = to_sarif(report, all_checks())
    body["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        sarif.validate(body)
    body["runs"][0]["results"][0] = {"mesage": {"text": "x"}}
    with pytest.raises(jsonschema.ValidationError):
        sarif.validate(body)


def test_junit(report: CheckReport) -> None:
    root = ElementTree.fromstring(to_junit(report))
    suite = root.find("testsuite")
    assert suite is not None
    cases = {case.get("name"): case for case in suite}
    assert set(cases) == {
        *("weights.finite", "card.data", "spec.hash", "plugin.own"),
        *("parent.bytes", "statistics.fresh", "files.code"),
    }
    assert suite.get("tests") == "7" and suite.get("failures") == "2"
    assert suite.get("skipped") == "3" and suite.get("errors") == "0"
    finite = cases["weights.finite"]
    assert "a.weight" in (finite.findtext("failure") or "")
    assert "b.weight" in (finite.findtext("system-out") or "")
    assert cases["card.data"].find("failure") is None and len(cases["spec.hash"]) == 0


def test_markdown_keeps_hostile_names_in_their_cell(report: CheckReport) -> None:
    text = to_markdown(report)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(report.findings)
    assert all(row.count(" | ") == 4 for row in rows[1:])
    assert "<img" not in text and "@team" not in text and "](http" not in text
    assert "`" not in text and "\x1b" not in text and "\u202e" not in text


def test_the_step_summary(
    report: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert write_step_summary(report) is None
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert write_step_summary(report) is None
    assert path.read_text().startswith("before\n### zooalign check: failed")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert "cannot be written" in (write_step_summary(report) or "")


def test_a_check_that_could_not_run_is_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert main(["check", "./none\u202e`"], standalone_mode=False) == 2
    text = path.read_text()
    assert text.startswith("### zooalign check: could not run\n") and "no such directory" in text
    assert "`" not in text and "\u202e" not in text
    assert write_step_failure("x", "y") is None and path.read_text().count("###") == 2
