"""What the release gate says: findings and the report of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from zooalign.release.subject import Subject

__all__ = ["Check", "CheckReport", "Finding", "Severity", "check_of"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    id:
        Stable name of the check, such as ``weights.finite``.
    severity:
        ``error`` fails the gate, ``warning`` does not.
    where:
        The parameter, file or field it is about.
    message:
        What is wrong.
    fix:
        What to try.
    """

    id: str
    severity: Severity
    where: str
    message: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(vars(self))


@dataclass(frozen=True)
class Check:
    """A check: a stable id and a function from the directory to what is wrong with it.

    ``needs`` names what must be there for it to say anything: ``weights``, ``spec``,
    ``provenance``, ``parents``. What is absent is another check's finding.
    """

    id: str
    title: str
    run: Callable[["Subject"], Iterator[Finding]]
    needs: frozenset[str]


@dataclass(frozen=True)
class CheckReport:
    """All findings of a run. ``checks`` are the ids that ran, ``skipped`` those that could not."""

    reference: str
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {
            "reference": self.reference,
            "ok": self.ok,
            "findings": [finding.to_dict() for finding in self.findings],
            "checks": list(self.checks),
            "skipped": list(self.skipped),
        }


def check_of(
    id: str, title: str, *needs: str
) -> Callable[[Callable[["Subject"], Iterator[Finding]]], Check]:
    """Make a function a :class:`Check`."""

    def make(function: Callable[["Subject"], Iterator[Finding]]) -> Check:
        return Check(id, title, function, frozenset(needs))

    return make
