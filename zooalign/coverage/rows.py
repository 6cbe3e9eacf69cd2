"""The row of a sweep: what its file says about one architecture, as documented in docs/cli.md."""

from typing import Required, TypedDict

from zooalign.symmetry.proof import Verdict

__all__ = [
    "ConverseRow",
    "CoverageFinding",
    "ErrorRow",
    "LimitRow",
    "Row",
    "UnchangedRow",
    "VerificationRow",
]


class ErrorRow(TypedDict):
    """Where an architecture failed, and how."""

    stage: str
    type: str
    message: str


class LimitRow(TypedDict):
    """Axes that are frozen because zooalign does not know better; ``first`` is one of them."""

    kind: str
    operator: str
    detail: str
    first: str
    count: int


class VerificationRow(TypedDict, total=False):
    """The proof of a spec, and how the architecture was run for it."""

    ok: Required[bool]
    verdict: Verdict
    why: str
    operators: int
    members: int
    max_relative_error: float
    tolerance: float
    how: str
    inputs: list[list[int]]
    peak_bytes: int | None


class UnchangedRow(TypedDict):
    """A transposition of two frozen units that does not change the outputs."""

    set: str
    size: int
    units: list[int]
    reason: str
    relative_error: float
    mixable: bool


class ConverseRow(TypedDict):
    """The converse test: transpositions of frozen units, which must change the outputs."""

    ok: bool
    sets: int
    hidden: int
    tested: int
    hidden_tested: int
    transpositions: int
    unchanged: list[UnchangedRow]


class Row(TypedDict, total=False):
    """One architecture. Fields are None until they are known; older sweeps lack the last ones."""

    reference: Required[str]
    name: str
    family: Required[str]
    error: ErrorRow | None
    inputs: list[list[int]] | None
    parameters: int | None
    log10_order: float | None
    groups: int | None
    hidden_units: int | None
    free_hidden_units: float | None
    free_parameters: float | None
    frozen: dict[str, int] | None
    limits: list[LimitRow] | None
    unused: int | None
    unknown_operators: dict[str, int] | None
    operators: int | None
    hash: str | None
    verification: VerificationRow | None
    not_verified: str | None
    converse: ConverseRow | None
    seconds: Required[dict[str, float]]
    peak_bytes: int | None
    versions: dict[str, str]
    modality: str | None
    by_values: bool | None
    blocks: list[str] | None


class CoverageFinding(TypedDict):
    """What is wrong with one architecture, in words."""

    name: str
    what: str
