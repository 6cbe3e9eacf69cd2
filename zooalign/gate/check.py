"""The release gate: run every check on a directory or repo."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from zooalign.errors import CheckpointError, MergeError, SpecError
from zooalign.gate.checks import all_checks
from zooalign.gate.checks_page import NEEDS
from zooalign.gate.findings import Check, CheckReport, Finding
from zooalign.gate.policy import Policy
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.settings import CheckRequest
from zooalign.text import printable

__all__ = ["CheckRequest", "check", "check_with"]

# What is missing because nobody asked for it, not because the release lacks it.
_BY_REQUEST = ("data", "rerun", "against")
_OF_VALUES = ("values", "fit", "parents", *_BY_REQUEST)
# Characters of a finding that are shown; a hostile name may have millions.
_LONGEST = 4000


def check(
    reference: str,
    parents: Sequence[str] = (),
    *,
    model: str | None = None,
    allow_pickle: bool = False,
    policy: Policy | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> CheckReport:
    """Check a released directory or hub repo.

    Parameters
    ----------
    reference:
        A directory or ``org/name[@revision]``; a pull request is the revision ``refs/pr/N``.
    parents:
        References of models it was made from; the weights are then made anew from them and
        compared byte for byte, and an aligned model's function with its source's.
    model:
        The architecture, where the configuration does not say it (``py:`` models).
    policy:
        Default: every check at its own severity, and errors fail the gate.

    Returns
    -------
    The findings. A check that something is missing for (no spec, no parents) is in ``skipped``.

    Raises
    ------
    ModelReferenceError, HubError, CheckpointError
        If the release or a parent cannot be opened at all.
    PolicyError
        If the policy names a check or parameter that does not exist.
    """
    asked = CheckRequest(parents=tuple(parents), model=model, allow_pickle=allow_pickle)
    return check_with(reference, asked, policy=policy, progress=progress)


def check_with(
    reference: str,
    asked: CheckRequest,
    *,
    policy: Policy | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> CheckReport:
    """Check a release with everything that can be asked for. Otherwise as :func:`check`."""
    policy = policy or Policy()
    checks = all_checks()
    settings = policy.settings(checks)
    findings: list[Finding] = []
    ran: list[str] = []
    skipped: list[str] = []
    unasked: list[str] = []
    with open_release(reference, asked) as opened:
        subject = dataclasses.replace(opened, settings=settings)
        if subject.has("parents") and subject.has("shapes"):
            _ = subject.parents  # a parent that cannot be opened is the caller's mistake
        wanted = [item for item in checks if item.id not in policy.disable]
        for number, item in enumerate(wanted):
            if progress is not None:
                progress(item.id, number, len(wanted))
            missing = [need for need in sorted(item.needs) if not subject.has(need)]
            if not missing:
                ran.append(item.id)
                findings.extend(_found(item, subject, policy))
                continue
            asking = _OF_VALUES if asked.headers_only else _BY_REQUEST
            by_request = any(need in asking for need in missing)
            (unasked if by_request else skipped).append(item.id)
            if item.id in policy.require:
                findings.append(_required(item, missing, subject))
    return CheckReport(
        subject.reference,
        tuple(findings),
        tuple(ran),
        tuple(skipped),
        tuple(unasked),
        tuple(policy.disable),
        policy.fail_on,
        subject.repo.commit if subject.repo is not None else None,
        policy.source,
    )


def _found(item: Check, subject: OpenedRelease, policy: Policy) -> Iterator[Finding]:
    severity = policy.severity.get(item.id)
    try:
        for finding in item.run(subject):
            if severity is not None:
                finding = dataclasses.replace(finding, severity=severity)
            yield _placed(finding, subject)
    except (CheckpointError, SpecError, MergeError) as error:
        finding = Finding(item.id, severity or "error", subject.reference, str(error))
        yield _placed(finding, subject)


def _required(item: Check, missing: Sequence[str], subject: OpenedRelease) -> Finding:
    return Finding(
        item.id,
        "error",
        subject.reference,
        "did not run, and the policy requires it: it needs "
        f"{', '.join(NEEDS.get(need, need) for need in missing)}",
        "give the check what it needs (docs/checks.md), or do not require it",
    )


def _placed(finding: Finding, subject: OpenedRelease) -> Finding:
    """With file and parameter, and without characters that a terminal or a report acts on."""
    file, parameter = finding.file, finding.parameter
    if subject.model is not None and parameter is None and finding.where in subject.shapes:
        parameter = finding.where
        file = file or subject.shapes.layout.get(parameter)
    names = set(subject.names)
    if file is None:
        file = next(
            (f for f in (finding.where, finding.where.partition(": ")[0]) if f in names), None
        )
    return dataclasses.replace(
        finding,
        where=printable(finding.where, most=_LONGEST),
        message=printable(finding.message, most=_LONGEST),
        fix=printable(finding.fix, most=_LONGEST),
        file=None if file is None else printable(file, most=_LONGEST),
        parameter=None if parameter is None else printable(parameter, most=_LONGEST),
    )
