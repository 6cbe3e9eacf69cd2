"""What the release gate speaks of: checks, their findings, and the report of a run."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

__all__ = [
    "NEEDS",
    "SEVERITIES",
    "Check",
    "CheckReport",
    "Finding",
    "Problem",
    "Severity",
    "check",
]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

# What a check may need, by the names of :meth:`OpenedRelease.has`.
NEEDS = {
    "weights": "weights whose headers can be read",
    "shapes": "weights that fit the architecture",
    "values": "the weights' values",
    "fit": "values that fit the architecture",
    "spec": "a valid spec",
    "provenance": "a valid provenance",
    "parents": "`--parent` or `--recorded-parents`",
    "data": "`--data`",
    "rerun": "`--reproduce`",
    "against": "`--against`",
}


@dataclass(frozen=True)
class Problem:
    """One thing that a check reports.

    ``where`` is the parameter, file or field, and ``message`` its predicate: "is not JSON". ``fix``
    and ``severity`` are None for the check's own; ``file`` and ``parameter`` (the tensor) where
    the gate is to derive them from ``where``.
    """

    where: str
    message: str
    fix: str | None = None
    severity: Severity | None = None
    file: str | None = None
    parameter: str | None = None


@dataclass(frozen=True)
class Finding:
    """A problem in a report. The fields are those of the documented JSON (``docs/cli.md``).

    ``id`` is the stable name of the check, such as ``weights.finite``, and ``category`` its
    family. ``file`` and ``parameter`` (the tensor) are None if the finding is not about one.
    """

    id: str
    category: str = field(init=False)
    severity: Severity
    where: str
    message: str
    fix: str = ""
    file: str | None = None
    parameter: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "category", self.id.partition(".")[0])


CheckFunction = Callable[..., Iterator[Problem]]


@dataclass(frozen=True)
class Check:
    """A check of a release. :func:`check` makes one of a generator function.

    Attributes
    ----------
    id:
        ``family.name``; it never changes.
    title:
        What holds if the check finds nothing, in one line.
    run:
        Yields the problems of an :class:`OpenedRelease`; its keywords are ``parameters``.
    needs:
        What must be there for the check to run, by the names of :data:`NEEDS`. That it is absent
        is the finding of another check.
    meaning, fix:
        What a finding means, for the documentation, and how to correct it.
    severity:
        Of problems that do not state their own; a policy may set another.
    parameters:
        What a policy may set: arguments of ``run``, with their types and defaults.
    """

    id: str
    title: str
    run: CheckFunction
    needs: frozenset[str]
    meaning: str = ""
    fix: str = ""
    severity: Severity = "error"
    parameters: Mapping[str, inspect.Parameter] = field(default_factory=dict)

    @property
    def category(self) -> str:
        """The family, such as ``weights``."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All findings of a run. The fields are those of the documented JSON (``docs/cli.md``).

    ``ok`` says that no finding is as severe as ``fail_on``. ``checks`` are the ids of those that
    ran; ``skipped`` could not run, as what they need is missing or no parent was given;
    ``unasked`` run only on request: they need data, a second run, a directory to compare with, or
    (under ``--headers-only``) the values of weights; ``disabled`` are turned off by the policy.
    ``commit`` is that of a hub repo, ``policy`` the file of the policy.
    """

    reference: str
    commit: str | None = None
    ok: bool = field(init=False)
    fail_on: Severity = "error"
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    skipped: tuple[str, ...]
    unasked: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    policy: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ok", not self.failures)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that fail the gate."""
        failing = SEVERITIES[: SEVERITIES.index(self.fail_on) + 1]
        return tuple(finding for finding in self.findings if finding.severity in failing)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON values."""
        body: dict[str, object] = msgspec.json.decode(msgspec.json.encode(self))
        return body


def check(
    id: str, title: str, *needs: str, severity: Severity = "error", fix: str = ""
) -> Callable[[CheckFunction], Check]:
    """Make a generator function a :class:`Check`.

    The function takes an :class:`~zooalign.release.opened.OpenedRelease` and yields
    :class:`Problem` values. Its docstring is the documentation: what a finding means. Its further
    arguments, each with a default, are the check's parameters. ``docs/plugins.md`` has an example.
    """

    def bind(rule: CheckFunction) -> Check:
        meaning = " ".join((inspect.getdoc(rule) or "").split())
        _, *arguments = inspect.signature(rule, eval_str=True).parameters.values()
        parameters = {argument.name: argument for argument in arguments}
        return Check(id, title, rule, frozenset(needs), meaning, fix, severity, parameters)

    return bind
