"""SARIF 2.1.0, which code-scanning services read.

Static Analysis Results Interchange Format (SARIF) Version 2.1.0, OASIS Standard, 27 March 2020.
"""

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any
from urllib.parse import quote

from zooalign.gate.findings import Check, CheckReport, Finding
from zooalign.release.versions import versions

__all__ = ["to_sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def to_sarif(report: CheckReport, checks: Sequence[Check]) -> dict[str, Any]:
    """One run with a rule per check and a result per finding.

    A finding's place is its file and, as a logical location, its parameter. Files are relative to
    the release; one that is about no file is placed at the release as a whole.
    """
    page = documentation()
    enabled = [check for check in checks if check.id not in report.disabled]
    numbers = {check.id: number for number, check in enumerate(enabled)}
    driver = {
        "name": "zooalign",
        "semanticVersion": versions()["zooalign"],
        **({"informationUri": page} if page else {}),
        "rules": [_rule(check, page) for check in enabled],
    }
    invocation = {
        "executionSuccessful": True,
        "exitCode": 0 if report.ok else 1,
        "toolExecutionNotifications": [
            {
                "level": "note",
                "message": {"text": f"{name} did not run: what it needs is absent"},
                "associatedRule": {"id": name, "index": numbers[name]},
            }
            for name in report.skipped
            if name in numbers
        ],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"zooalign-check/{quote(report.reference, safe='')}"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, numbers) for finding in report.findings],
        "properties": {
            "reference": report.reference,
            "commit": report.commit,
            "failOn": report.fail_on,
            "checks": list(report.checks),
            "skipped": list(report.skipped),
            "unasked": list(report.unasked),
        },
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def documentation() -> str | None:
    """The address of the page of the checks, by the distribution's own ``[project.urls]``.

    None without an entry ``Documentation``: a link to somebody else's page would mislead.
    """
    try:
        stated = metadata("zooalign").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from a source tree that is not installed
        return None
    for entry in stated:
        label, _, address = str(entry).partition(",")
        if label.strip().lower() == "documentation" and address.strip().startswith("https://"):
            return f"{address.strip().rstrip('/')}/checks.md"
    return None


def _rule(check: Check, page: str | None) -> dict[str, Any]:
    meaning = check.meaning or check.title
    text = f"{meaning}\n\nFix: {check.fix}" if check.fix else meaning
    return {
        "id": check.id,
        "name": "".join(part.capitalize() for part in check.id.replace("_", ".").split(".")),
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": meaning},
        "help": {"text": text, "markdown": text},
        **({"helpUri": f"{page}#{check.id.replace('.', '')}"} if page else {}),
        "defaultConfiguration": {"level": check.severity},
        "properties": {"category": check.category, "tags": [check.category]},
    }


def _result(finding: Finding, numbers: dict[str, int]) -> dict[str, Any]:
    text = f"{finding.where}: {finding.message}"
    if finding.fix:
        text += f". Fix: {finding.fix}"
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": quote(finding.file or ".")}}
    }
    if finding.parameter is not None:
        location["logicalLocations"] = [{"name": finding.parameter, "kind": "parameter"}]
    fingerprint = "\0".join((finding.id, finding.file or "", finding.where))
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "level": finding.severity,
        "kind": "fail",
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {
            "zooalign/v1": hashlib.sha256(fingerprint.encode()).hexdigest()[:32]
        },
    }
    if finding.id in numbers:
        result["ruleIndex"] = numbers[finding.id]
    return result
