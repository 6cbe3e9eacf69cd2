"""Write the page of a release or a measurement."""

import time
from dataclasses import dataclass
from pathlib import Path

from zooalign.errors import CheckpointError
from zooalign.gate.policy import Policy
from zooalign.progress import Progress, silent
from zooalign.release.settings import CheckRequest
from zooalign.report.content import Content, Kind
from zooalign.report.gather import content_of
from zooalign.report.html import render
from zooalign.zoo.files import atomic_write

__all__ = ["ReportResult", "write_report"]


@dataclass(frozen=True)
class ReportResult:
    """The JSON of ``zooalign report`` (``docs/cli.md``)."""

    reference: str
    output: str
    kind: Kind
    ok: bool | None
    checks: int
    findings: int
    groups: int | None
    curves: int
    bytes: int
    problems: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float
    dry_run: bool


def write_report(
    reference: str,
    output: str,
    request: CheckRequest | None = None,
    *,
    policy: Policy | None = None,
    progress: Progress = silent,
    dry_run: bool = False,
) -> ReportResult:
    """Write one HTML page about a release or a measurement.

    The same input gives the same bytes.

    Parameters
    ----------
    reference:
        A release (directory or hub repo), the directory or ``connectivity.json`` of ``zooalign
        connectivity``, the JSON of ``zooalign barrier`` or of a release's curves, or a spec file.
    output:
        The ``.html`` file to write. It appears whole or not at all; its folder must exist.
    request, policy:
        Of the release gate, which runs on a release (:func:`zooalign.gate.check.check`).
    progress:
        Told of the checks that were run.
    dry_run:
        Make the page, but do not write it.

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    DataError
        If ``reference`` is nothing that a page can show.
    ZooalignError
        If a release cannot be opened.
    """
    start = time.perf_counter()
    path = Path(output)
    _require_place(path)
    content = content_of(reference, request or CheckRequest(), policy, progress)
    page = render(content).encode()
    if not dry_run:
        atomic_write(path, page)
    return _result(content, output, len(page), time.perf_counter() - start, dry_run)


def _require_place(path: Path) -> None:
    """Refuse, before minutes of work, a file that could not be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise CheckpointError(f"'{path}': a report is an .html file; name one with -o")
    if path.is_dir() or not path.parent.is_dir():
        why = "is a directory" if path.is_dir() else f"there is no directory '{path.parent}'"
        raise CheckpointError(f"'{path}' cannot be written: {why}; name another file with -o")


def _result(
    content: Content, output: str, size: int, seconds: float, dry_run: bool
) -> ReportResult:
    connectivity, gate, structure = content.connectivity, content.gate, content.structure
    return ReportResult(
        reference=content.reference,
        output=output,
        kind=content.kind,
        ok=None if gate is None else gate["ok"],
        checks=0 if gate is None else len(gate["checks"]),
        findings=0 if gate is None else len(gate["findings"]),
        groups=None if structure is None else structure.group_count,
        curves=len(content.curves) if connectivity is None else len(connectivity["pairs"]),
        bytes=size,
        problems=content.problems,
        left_out=content.left_out,
        seconds=seconds,
        dry_run=dry_run,
    )
