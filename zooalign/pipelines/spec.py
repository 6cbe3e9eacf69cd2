"""The spec of a referenced model, and its numeric verification."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zooalign.release.opening import derive_for
from zooalign.release.results import plain
from zooalign.release.settings import OpenSettings, VerifySettings
from zooalign.symmetry import Derived, Verification, verify
from zooalign.zoo.models import Model, open_architecture

__all__ = ["SpecReport", "SpecResult", "VerifyResult", "spec_for", "verify_model"]

_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class SpecResult:
    """The JSON of ``zooalign spec``: the spec (``docs/spec.md``), and how it was derived."""

    architecture: str
    log10_order: float
    groups: tuple[Mapping[str, Any], ...]
    frozen: tuple[Mapping[str, Any], ...]
    unused: tuple[str, ...]
    unknown_operators: Mapping[str, int]
    by_values: bool
    hash: str
    seconds: float


@dataclass(frozen=True)
class VerifyResult:
    """The JSON of ``zooalign verify`` (``docs/cli.md``)."""

    ok: bool
    max_relative_error: float
    tolerance: float
    groups: int
    log10_order: float
    groups_alone: int
    sensitivity: float
    worst: str
    hash: str


@dataclass(frozen=True)
class SpecReport:
    """What ``zooalign spec`` found; ``seconds`` is the time to build, trace and solve."""

    model: Model
    derived: Derived
    seconds: float

    @property
    def by_values(self) -> bool:
        """Whether a step depends on values of the inputs, so that a run was recorded."""
        return self.derived.traced.captured.by_values

    @property
    def result(self) -> SpecResult:
        """Its JSON."""
        spec = self.derived.spec
        return SpecResult(
            architecture=spec.architecture,
            log10_order=spec.log10_order,
            groups=tuple(group.to_dict() for group in spec.groups),
            frozen=tuple(entry.to_dict() for entry in spec.frozen),
            unused=spec.unused,
            unknown_operators=spec.unknown_operators,
            by_values=self.by_values,
            hash=spec.hash,
            seconds=self.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON as plain values."""
        return plain(self.result)


def spec_for(reference: str, settings: OpenSettings | None = None) -> SpecReport:
    """Derive the symmetries of the architecture that ``reference`` names. No weight is read.

    From a hub only the config is fetched.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        If the reference cannot be opened.
    TraceError
        If the architecture cannot be traced.
    """
    settings = settings or OpenSettings()
    opened = open_architecture(reference, model=settings.model, allow_pickle=settings.allow_pickle)
    start = time.perf_counter()
    derived = derive_for(opened, opened.build())
    return SpecReport(opened, derived, time.perf_counter() - start)


def verify_model(
    reference: str, settings: VerifySettings | None = None
) -> tuple[SpecReport, Verification]:
    """Derive a model's spec and check it numerically on random parameters.

    See :func:`zooalign.symmetry.verify` for ``seed``, ``alone`` and ``trials``.
    """
    settings = settings or VerifySettings()
    report = spec_for(reference, settings)
    found = verify(
        report.model.build(),
        report.derived.spec,
        report.model.example_inputs(_BATCH),
        seed=settings.seed,
        alone=settings.alone,
        trials=settings.trials,
    )
    return report, found
