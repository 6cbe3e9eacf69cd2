"""Printing a check's report: for people, as JSON, SARIF or JUnit XML, to stdout or a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from zooalign.cli._output import console, escape, print_note
from zooalign.release.results import json_text

__all__ = ["FORMATS", "print_report", "show_findings"]

FORMATS = ("human", "json", "sarif", "junit")
_SHOWN = 20
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def print_report(report: Any, format_: str, output: str | None) -> None:
    """Print a :class:`zooalign.gate.findings.CheckReport`.

    With ``output`` the report goes to that file, and text for people to stdout. Where
    ``GITHUB_STEP_SUMMARY`` is set, a summary is appended there.
    """
    from zooalign.gate.reports import write_step_summary
    from zooalign.zoo.files import atomic_write

    if format_ == "human" or output is not None:
        show_findings(console(), report, limit=_SHOWN)
    if format_ != "human":
        content = _content(report, format_)
        if output is None:
            click.echo(content, nl=False)
        else:
            atomic_write(Path(output), content.encode())
    problem = write_step_summary(report)
    if problem is not None:
        print_note("warning", problem)


def show_findings(console: Any, report: Any, limit: int | None = None) -> None:
    """Print findings for people, at most ``limit`` of each check."""
    shown: dict[str, int] = {}
    for finding in report.findings:
        shown[finding.id] = shown.get(finding.id, 0) + 1
        if limit is not None and shown[finding.id] > limit:
            continue
        colour = _COLOURS[finding.severity]
        where = escape(finding.where)
        if finding.file is not None and finding.file not in finding.where:
            where += f" in {escape(finding.file)}"
        if not finding.message.startswith(finding.where):  # as parsers' messages do
            where += ": "
        else:
            where = ""
        console.print(
            f"[{colour}]{finding.severity}[/{colour}] {finding.id}: {where}"
            f"{escape(finding.message)}"
        )
        if finding.fix:
            console.print(f"    fix: {escape(finding.fix)}")
    for name, count in shown.items():
        if limit is not None and count > limit:
            console.print(f"{name}: and {count - limit} more")
    word = "[green]in order[/green]" if report.ok else "[red]not in order[/red]"
    console.print(f"{escape(report.reference)}: {word} ({len(report.checks)} checks ran)")
    for what, names in _idle(report):
        console.print(f"    {escape(what)}: {', '.join(names)}")
    if report.policy is not None:
        console.print(f"    by the policy of {escape(report.policy)}")


def _idle(report: Any) -> Iterator[tuple[str, list[str]]]:
    """Checks that did not run, by why."""
    from zooalign.gate.checks import all_checks

    of_parents = {check.id for check in all_checks() if "parents" in check.needs}
    given = any(name in of_parents for name in report.checks)
    waiting = [] if given else [name for name in report.skipped if name in of_parents]
    absent = [name for name in report.skipped if name not in waiting]
    for what, names in (
        ("need --parent or --recorded-parents", waiting),
        ("had nothing to look at", absent),
        ("not asked for", list(report.unasked)),
        ("turned off", list(report.disabled)),
    ):
        if names:
            yield what, names


def _content(report: Any, format_: str) -> str:
    from zooalign.gate.checks import all_checks
    from zooalign.gate.reports import to_junit, to_sarif

    if format_ == "junit":
        return to_junit(report).decode()
    body = to_sarif(report, all_checks()) if format_ == "sarif" else report
    return json_text(body, indent=2) + "\n"
