"""The release gate: run every check on a directory or repo."""

from collections.abc import Callable, Sequence

from zooalign.errors import CheckpointError, SpecError
from zooalign.release.checks import BUILT_IN
from zooalign.release.findings import Check, CheckReport, Finding
from zooalign.release.subject import open_subject
from zooalign.zoo.plugins import plugin_manager

__all__ = ["all_checks", "check"]


def all_checks() -> tuple[Check, ...]:
    """The built-in checks, then those of plugins."""
    found = plugin_manager().hook.zooalign_checks()
    return (*BUILT_IN, *(item for items in reversed(found) for item in items))


def check(
    reference: str,
    parents: Sequence[str] = (),
    *,
    model: str | None = None,
    allow_pickle: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> CheckReport:
    """Check a released directory or hub repo.

    Parameters
    ----------
    reference:
        A directory or ``org/name[@revision]``.
    parents:
        References of models it was made from; the weights are then made anew from them and
        compared byte for byte, and an aligned model's function with its source's.
    model:
        The architecture, where the configuration does not say it (``py:`` models).

    Returns
    -------
    The findings. A check that something is missing for (no spec, no parents) is in ``skipped``.

    Raises
    ------
    ModelReferenceError, HubError, CheckpointError
        If the release or a parent cannot be opened at all.
    """
    subject = open_subject(reference, parents=parents, model=model, allow_pickle=allow_pickle)
    if subject.model is not None and subject.has("fit"):
        _ = subject.parents  # a parent that cannot be opened is the caller's mistake
    findings: list[Finding] = []
    ran, skipped = [], []
    checks = all_checks()
    for number, item in enumerate(checks):
        if progress is not None:
            progress(item.id, number, len(checks))
        if not all(subject.has(need) for need in sorted(item.needs)):
            skipped.append(item.id)
            continue
        ran.append(item.id)
        try:
            findings.extend(item.run(subject))
        except (CheckpointError, SpecError) as error:
            findings.append(Finding(item.id, "error", subject.reference, str(error)))
    return CheckReport(subject.reference, tuple(findings), tuple(ran), tuple(skipped))
