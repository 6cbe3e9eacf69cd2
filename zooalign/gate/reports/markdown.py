"""A check's report as Markdown, for the summary page of a GitHub workflow."""

import os
from pathlib import Path

from zooalign.gate.findings import SEVERITIES, CheckReport
from zooalign.text import printable

__all__ = ["VARIABLE", "to_markdown", "write_step_failure", "write_step_summary"]

VARIABLE = "GITHUB_STEP_SUMMARY"
_MOST = 100
_MARKS = frozenset("&<>\"'|`*_[]()~$@#!:\\")
_ICONS = {"error": "❌", "warning": "⚠️", "note": "i"}


def to_markdown(report: CheckReport) -> str:
    """A heading, the counts, and a table of the first 100 findings.

    Names come from files of strangers: they stand in ``<code>``, where Markdown means nothing.
    """
    word = "passed" if report.ok else "failed"
    counts = ", ".join(
        f"{sum(f.severity == severity for f in report.findings)} {severity}s"
        for severity in SEVERITIES
    )
    at = f" at {_code(report.commit)}" if report.commit else ""
    lines = [
        f"### zooalign check: {word}",
        "",
        f"{_code(report.reference)}{at}: {len(report.checks)} checks ran, {counts}; "
        f"{len(report.skipped)} skipped, {len(report.unasked)} not asked for.",
        "",
    ]
    if report.findings:
        lines += ["| | check | where | what | fix |", "|---|---|---|---|---|"]
    for finding in report.findings[:_MOST]:
        lines.append(
            f"| {_ICONS[finding.severity]} {finding.severity} | {_code(finding.id)} "
            f"| {_code(finding.where)} | {_code(finding.message)} | {_code(finding.fix)} |"
        )
    if len(report.findings) > _MOST:
        lines += ["", f"and {len(report.findings) - _MOST} more."]
    return "\n".join(lines) + "\n\n"


def write_step_summary(report: CheckReport) -> str | None:
    """Append the Markdown to the file that ``GITHUB_STEP_SUMMARY`` names; why it failed, if so."""
    return _append(to_markdown(report))


def write_step_failure(reference: str, message: str) -> str | None:
    """The same for a check that could not run: what was to be checked, and why it was not."""
    return _append(
        "### zooalign check: could not run\n\n"
        f"{_code(printable(reference))}: {_code(printable(message))}\n\n"
    )


def _append(text: str) -> str | None:
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    try:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"{VARIABLE} ({name}) cannot be written: {error.strerror or error}"
    return None


def _code(text: str) -> str:
    if not text:
        return ""
    # Inside <code>, GitHub still reads Markdown's own characters, mentions and tables' bars.
    shown = "".join(f"&#{ord(c)};" if c in _MARKS else c for c in " ".join(text.split()))
    return f"<code>{shown}</code>"
