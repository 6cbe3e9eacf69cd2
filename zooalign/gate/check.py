"""The release gate: run every check on a directory or repo."""

from collections.abc import Iterator, Mapping

from zooalign.errors import CheckpointError, MergeError, SpecError
from zooalign.gate.checks import all_checks
from zooalign.gate.findings import NEEDS, Check, CheckReport, Finding, Problem, Severity
from zooalign.gate.policy import Policy
from zooalign.progress import Progress, silent
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.settings import CheckRequest
from zooalign.text import printable

__all__ = ["CheckRequest", "check", "check_opened"]

# Needs that the release itself cannot meet: the caller has to ask for them.
_BY_REQUEST = frozenset({"data", "rerun", "against"})
_OF_VALUES = _BY_REQUEST | {"values", "fit", "parents"}
# Characters of a finding that are shown; a hostile name may have millions.
_LONGEST = 4000


def check(
    reference: str,
    request: CheckRequest | None = None,
    *,
    policy: Policy | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Check a released directory or hub repo.

    Parameters
    ----------
    reference:
        A directory or ``org/name[@revision]``; a pull request is the revision ``refs/pr/N``.
    request:
        What to check besides the release itself: parents, data, a second run.
    policy:
        Default: every check at its own severity, and errors fail the gate.
    progress:
        Called with the id of each check.

    Returns
    -------
    CheckReport
        The findings. A check whose needs are not met (no spec, no parents) is in ``skipped``.

    Raises
    ------
    ModelReferenceError, HubError, CheckpointError
        If the release or a parent cannot be opened at all.
    PolicyError
        If the policy names a check or parameter that does not exist.
    """
    with open_release(reference, request) as release:
        return check_opened(release, policy=policy, progress=progress)


def check_opened(
    release: OpenedRelease, *, policy: Policy | None = None, progress: Progress = silent
) -> CheckReport:
    """Check a release that is open already, with the request that it was opened by.

    See :func:`check`.
    """
    request, policy = release.request, policy or Policy()
    checks = all_checks()
    settings = policy.settings(checks)
    enabled = [item for item in checks if item.id not in policy.disable]
    requested = _OF_VALUES if request.headers_only else _BY_REQUEST
    findings: list[Finding] = []
    ran: list[str] = []
    skipped: list[str] = []
    unasked: list[str] = []
    if release.has("parents") and release.has("shapes"):
        _ = release.parents  # a parent that cannot be opened is the caller's mistake
    for number, item in enumerate(enabled):
        progress(item.id, number, len(enabled))
        missing = [need for need in sorted(item.needs) if not release.has(need)]
        if not missing:
            ran.append(item.id)
            findings += _findings(item, release, settings[item.id], policy)
            continue
        (skipped if requested.isdisjoint(missing) else unasked).append(item.id)
        if item.id in policy.require:
            findings.append(_did_not_run(item, missing, release))
    return CheckReport(
        reference=release.reference,
        commit=None if release.repo is None else release.repo.commit,
        fail_on=policy.fail_on,
        findings=tuple(findings),
        checks=tuple(ran),
        skipped=tuple(skipped),
        unasked=tuple(unasked),
        disabled=policy.disable,
        policy=policy.source,
    )


def _findings(
    item: Check, release: OpenedRelease, settings: Mapping[str, object], policy: Policy
) -> Iterator[Finding]:
    """Run one check. An error that ends it is its last finding."""
    severity = policy.severity.get(item.id)
    try:
        for problem in item.run(release, **settings):
            yield _finding(item, problem, release, severity)
    except (CheckpointError, SpecError, MergeError) as error:
        # What cannot be read is not mended by the fix for what was read and is wrong.
        fix = "" if isinstance(error, CheckpointError) else item.fix
        problem = Problem(release.reference, str(error), fix, "error")
        yield _finding(item, problem, release, severity)


def _did_not_run(item: Check, missing: list[str], release: OpenedRelease) -> Finding:
    needs = ", ".join(NEEDS.get(need, need) for need in missing)
    problem = Problem(
        release.reference,
        f"did not run, and the policy requires it: it needs {needs}",
        "give the check what it needs (docs/checks.md), or do not require it",
    )
    return _finding(item, problem, release, "error")


def _finding(
    item: Check, problem: Problem, release: OpenedRelease, severity: Severity | None
) -> Finding:
    """A problem with what its check states once.

    Characters that a terminal or a report would act on are escaped here, for every check.
    """
    where, file, parameter = problem.where, problem.file, problem.parameter
    if parameter is None and release.has("weights") and where in release.shapes:
        parameter = where
        file = file or release.shapes.layout.get(parameter)
    if file is None:
        candidates = (where, where.partition(": ")[0])
        file = next((name for name in candidates if name in release.names), None)
    return Finding(
        item.id,
        severity or problem.severity or item.severity,
        _shown(where),
        _shown(problem.message),
        _shown(item.fix if problem.fix is None else problem.fix),
        None if file is None else _shown(file),
        None if parameter is None else _shown(parameter),
    )


def _shown(text: str) -> str:
    return printable(text, most=_LONGEST)
