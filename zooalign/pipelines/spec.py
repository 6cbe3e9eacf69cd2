"""The spec of a referenced model, and its proof."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from zooalign.release.opening import derive_for
from zooalign.release.results import Report, merged_fields
from zooalign.release.settings import SymmetrySettings, VerifySettings
from zooalign.symmetry import Derived, Verification, verify
from zooalign.symmetry.classes.group_class import ClassesRecord
from zooalign.symmetry.contract import Contract, ProofRecord
from zooalign.symmetry.groups import Member
from zooalign.symmetry.proof import Fault, Verdict
from zooalign.symmetry.spec_file import to_dict
from zooalign.zoo.models import Model, open_architecture

__all__ = [
    "ElementFile",
    "PermutationFile",
    "SpecFile",
    "SpecReport",
    "SpecResult",
    "VerifyResult",
    "spec_for",
    "verify_model",
]

_BATCH = 2


@dataclass(frozen=True)
class GroupResult:
    """A group of interchangeable units, as in the spec file."""

    id: str
    size: int
    structure: str
    over: tuple[str, ...]
    contexts: tuple[int, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True)
class FrozenResult:
    """An axis, or a part of one, that does not move, as in the spec file."""

    parameter: str
    axis: int
    reason: str
    kind: str
    operator: str
    detail: str
    positions: tuple[tuple[int, int], ...] | None
    partial: bool


@dataclass(frozen=True, kw_only=True)
class _Derived:
    architecture: str
    log10_order: float
    groups: tuple[GroupResult, ...]
    frozen: tuple[FrozenResult, ...]
    unused: tuple[str, ...]
    unknown_operators: Mapping[str, int]
    contract: Contract | None = None
    classes: ClassesRecord | None = None
    proof: ProofRecord | None = None
    hash: str


@dataclass(frozen=True, kw_only=True)
class SpecResult(_Derived):
    """The JSON of ``zooalign spec`` (``docs/cli.md``)."""

    by_values: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SpecFile(_Derived):
    """The JSON of ``zooalign/spec.json`` (``docs/spec.md``)."""

    format: Literal["zooalign.permutation-spec"]
    version: Literal[1, 2]
    shapes: Mapping[str, tuple[int, ...]]
    fixed_sets: Mapping[str, int]
    buffers: tuple[str, ...]
    tied: Mapping[str, str]


@dataclass(frozen=True)
class PermutationFile:
    """The JSON of ``zooalign/permutation.json``; a nested group has nested lists of units."""

    format: Literal["zooalign.permutation"]
    version: Literal[1]
    spec_hash: str
    indices: Mapping[str, list[Any]]


@dataclass(frozen=True)
class ElementFile:
    """The JSON of ``zooalign/permutation.json`` where ``--symmetries`` go beyond permutations."""

    format: Literal["zooalign.permutation"]
    version: Literal[2]
    spec_hash: str
    indices: Mapping[str, list[Any]]
    symmetries: Literal["signed", "monomial", "linear"]
    maps: str


@dataclass(frozen=True)
class VerifyResult:
    """The JSON of ``zooalign verify`` (``docs/cli.md``)."""

    ok: bool
    verdict: Verdict
    why: str
    fault: Fault | None
    operators: int
    members: int
    max_relative_error: float
    tolerance: float
    groups: int
    log10_order: float
    hash: str
    classes: Mapping[str, int]


@dataclass(frozen=True)
class SpecReport(Report):
    """What ``zooalign spec`` derived; ``seconds`` is the time to build, trace, solve and prove."""

    model: Model
    derived: Derived
    seconds: float

    @property
    def by_values(self) -> bool:
        """Whether a step depends on values of the inputs, so that a run was recorded."""
        return self.derived.traced.captured.by_values

    @property
    def result(self) -> SpecResult:
        """The JSON as a typed value."""
        spec = self.derived.spec
        derived = {**to_dict(spec), "hash": spec.hash}
        more = {"by_values": self.by_values, "seconds": self.seconds}
        return merged_fields(SpecResult, derived, more)


def spec_for(
    reference: str, settings: SymmetrySettings | None = None, *, prove: bool | None = None
) -> SpecReport:
    """Derive the symmetries of the architecture that ``reference`` names. No weight is read.

    From a hub only the config is fetched. ``prove`` is as for :func:`~zooalign.extract_spec`.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        If the reference cannot be opened.
    TraceError
        If the architecture cannot be traced.
    """
    settings = settings or SymmetrySettings()
    opened = open_architecture(reference, model=settings.model, allow_pickle=settings.allow_pickle)
    start = time.perf_counter()
    derived = derive_for(
        opened,
        opened.build(),
        allow_value_dependent=settings.allow_value_dependent,
        symmetries=settings.symmetries,
        prove=prove,
    )
    return SpecReport(opened, derived, time.perf_counter() - start)


def verify_model(
    reference: str, settings: VerifySettings | None = None
) -> tuple[SpecReport, Verification]:
    """Derive a model's spec and prove it operator by operator on random parameters.

    See :func:`zooalign.symmetry.verify` for ``seed`` and ``members``.
    """
    settings = settings or VerifySettings()
    report = spec_for(reference, settings, prove=False)
    verification = verify(
        report.model.build(),
        report.derived.spec,
        report.model.example_inputs(_BATCH),
        seed=settings.seed,
        members=settings.members,
        derived=report.derived,
    )
    return report, verification
