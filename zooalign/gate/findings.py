"""What the release gate says: checks, findings and the report of a run."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from zooalign.release.opened import OpenedRelease

__all__ = ["SEVERITIES", "Check", "CheckReport", "Finding", "Severity", "check_of"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    id:
        Stable name of the check, such as ``weights.finite``.
    severity:
        ``error``, ``warning`` or ``note``; the gate fails from a policy's ``fail_on`` on.
    where:
        The parameter, file or field it is about.
    message:
        What is wrong.
    fix:
        What to try.
    file, parameter:
        The file and the tensor, None where it is about none. A check may leave them out: they
        are filled in from ``where``.
    """

    id: str
    severity: Severity
    where: str
    message: str
    fix: str = ""
    file: str | None = None
    parameter: str | None = None

    @property
    def category(self) -> str:
        """The family of the check, such as ``weights``."""
        return self.id.partition(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"id": self.id, "category": self.category, **vars(self)}


@dataclass(frozen=True)
class Check:
    """A check: a stable id and a function from a release to what is wrong with it.

    Attributes
    ----------
    id:
        ``family.name``; it never changes.
    title:
        What holds where there is no finding, in one line.
    run:
        Yields findings.
    needs:
        What must be there for it to say anything (:meth:`OpenedRelease.has`). What is absent is
        another check's finding.
    meaning, remedy:
        For the documentation: what a finding means, and how to correct it.
    severity:
        The worst it gives by itself; a policy may set another.
    parameters:
        What a policy may set, with the defaults.
    """

    id: str
    title: str
    run: Callable[["OpenedRelease"], Iterator[Finding]]
    needs: frozenset[str]
    meaning: str = ""
    remedy: str = ""
    severity: Severity = "error"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def category(self) -> str:
        """The family, such as ``weights``."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class CheckReport:
    """All findings of a run.

    Attributes
    ----------
    reference:
        What was checked.
    findings:
        In the order of the checks.
    checks:
        Ids that ran.
    skipped:
        Ids that could not say anything: what they need is missing, or no parent was given.
    unasked:
        Ids that nobody asked for: they need data, a second run, a directory to compare with, or
        the values of weights under ``--headers-only``.
    disabled:
        Ids that the policy turns off.
    policy:
        The policy's file; None without one.
    fail_on:
        The least severity that fails the gate.
    commit:
        The resolved commit of a hub repo.
    """

    reference: str
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    skipped: tuple[str, ...]
    unasked: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    fail_on: Severity = "error"
    commit: str | None = None
    policy: str | None = None

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that fail the gate."""
        failing = SEVERITIES[: SEVERITIES.index(self.fail_on) + 1]
        return tuple(finding for finding in self.findings if finding.severity in failing)

    @property
    def ok(self) -> bool:
        """Whether no finding is as severe as ``fail_on``."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {
            "reference": self.reference,
            "commit": self.commit,
            "ok": self.ok,
            "fail_on": self.fail_on,
            "findings": [finding.to_dict() for finding in self.findings],
            "checks": list(self.checks),
            "skipped": list(self.skipped),
            "unasked": list(self.unasked),
            "disabled": list(self.disabled),
            "policy": self.policy,
        }


def check_of(
    id: str,
    title: str,
    *needs: str,
    severity: Severity = "error",
    parameters: Mapping[str, Any] | None = None,
) -> Callable[[Callable[["OpenedRelease"], Iterator[Finding]]], Check]:
    """Make a function a :class:`Check`.

    The function's docstring is its documentation: what a finding means, and in a last paragraph
    that begins with ``Fix:`` how to correct it.
    """

    def make(function: Callable[["OpenedRelease"], Iterator[Finding]]) -> Check:
        text = " ".join((inspect.getdoc(function) or "").split())
        meaning, _, remedy = text.partition("Fix: ")
        return Check(
            id,
            title,
            function,
            frozenset(needs),
            meaning.strip(),
            remedy.strip(),
            severity,
            dict(parameters or {}),
        )

    return make
