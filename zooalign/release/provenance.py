"""How a released directory was made, as a value and as ``zooalign/provenance.json``."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import torch

from zooalign.errors import MergeError, SpecError, ZooalignWarning
from zooalign.graph.dtypes import dtype_named
from zooalign.matching.solvers import told
from zooalign.merging.benefit import Benefit
from zooalign.merging.combine import Combination
from zooalign.merging.curve import Barrier
from zooalign.merging.refit import Method, RefitLayer
from zooalign.release.naming import NamesRecord
from zooalign.release.sources import Source

__all__ = [
    "REFIT_TOLERANCE",
    "AlignmentRecord",
    "BarrierSummary",
    "BenefitRecord",
    "CurveOrigin",
    "DataUse",
    "Provenance",
    "RefitRecord",
    "ScoreRecord",
    "noted_warnings",
]

# What became of running statistics: kept as they were (alignments), recomputed, replaced by
# REPAIR of the weights, left as the average of the parents', or absent.
StatisticsRecord = Literal["kept", "reset", "repaired", "stale", "none"]
Plain = str | bool | int | float | None

# What a refitted tensor may differ by on another machine or number of threads: the norm of what
# differs, relative to the tensor's.
REFIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class DataUse:
    """Which data was read.

    ``digest`` is the SHA-256 of an ``.npz`` file's bytes, or of the names and sizes in an image
    folder (``digest_of`` says which), None for data that a callable makes.
    """

    reference: str
    rows: int | None
    batch_size: int
    limit: int | None
    digest: str | None
    digest_of: str | None


@dataclass(frozen=True)
class AlignmentRecord:
    """How the units of one source were reordered to match the first one's.

    ``source`` counts in ``Provenance.sources``; ``permutation`` is the file's name. Objectives
    are those of :class:`zooalign.matching.problem.Match`.
    """

    source: int
    permutation: str
    moved_fraction: float
    objective_before: float
    objective_after: float
    max_relative_error: float
    tolerance: float
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, float | str] = field(default_factory=dict)

    def told(self, method: str) -> tuple[str, ...]:
        """How the match by ``method`` went, in lines for people."""
        return told(method, self.objective_before, self.objective_after, self.details)


@dataclass(frozen=True, kw_only=True)
class CurveOrigin:
    """What a curve is of: its label in legends, references of both ends, how they were aligned."""

    label: str
    a: str
    b: str
    align: str
    data: str


@dataclass(frozen=True, kw_only=True)
class BarrierSummary(CurveOrigin):
    """The barriers of a curve, without its points."""

    count: int
    barrier: Mapping[str, Barrier]
    statistics_reset: bool


@dataclass(frozen=True)
class ScoreRecord:
    """Loss and accuracy of a merge on ``count`` predictions, by the measures of these names."""

    loss: float
    accuracy: float | None = None
    count: int = 0
    error: float | None = None
    measures: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Such as ``loss 0.4113 (cross-entropy), accuracy 0.9310``."""
        loss, metric = (*self.measures, "", "")[:2]
        parts = [f"loss {self.loss:.4f}" + (f" ({loss})" if loss else "")]
        if self.accuracy is not None:
            parts.append(f"{metric or 'accuracy'} {self.accuracy:.4f}")
        elif self.error is not None:
            parts.append(f"{metric or 'error'} {self.error:.4f} (lower is better)")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class BenefitRecord(Benefit):
    """What a merge is worth beside its parents, with the data that says so.

    ``held_out`` says whether it is other data than the merge was made with, by its reference.
    """

    data: str
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class RefitRecord:
    """How the weights of a merge were refitted (:class:`zooalign.merging.refit.RefitResult`).

    ``seed`` and ``threads`` (of PyTorch) are those it ran with. On another number of threads or
    another machine every recomputed tensor is to be the same within ``tolerance``: the norm of
    what differs, relative to the tensor's.
    """

    method: Method
    relu_rounds: int
    calibration_rows: int
    held_out_rows: int
    agreement: Mapping[str, float]
    temperature: float | None
    layers: tuple[RefitLayer, ...]
    seed: int
    threads: int
    tolerance: float
    left_out_rows: int = 0

    @property
    def in_words(self) -> str:
        """What was refitted, on which rows, and how that was chosen."""
        chosen = ""
        if self.held_out_rows:
            each = "; ".join(f"{name} {value:.4f}" for name, value in self.agreement.items())
            chosen = (
                " Chosen by agreement with the mean of the parents on "
                f"{self.held_out_rows} held-out calibration rows: {each}."
            )
        if self.method == "none":
            return f"The weights are the parents' average: no refit agreed better.{chosen}"
        averaged = Counter(layer.reason for layer in self.layers if layer.reason is not None)
        fitted = len(self.layers) - averaged.total()
        reasons = "".join(f" Left averaged: {n} ({reason})." for reason, n in averaged.items())
        rounds = f", {self.relu_rounds} ReLU rounds" if self.relu_rounds else ""
        others = ""
        if self.left_out_rows:
            others = (
                f" {self.left_out_rows} rows of the data were not used: they have other shapes "
                "than the first batch, or fill no batch of its size."
            )
        return (
            f"The weights of {fitted} of {len(self.layers)} layers were refitted to what the "
            f"parents compute ({self.method}{rounds}) on {self.calibration_rows} calibration rows."
            f"{others}{chosen}{reasons}"
        )


class _Header(msgspec.Struct):
    format: str = ""
    version: int = 0
    settings: dict[str, Any] | None = None
    names: list[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The record of an operation.

    Attributes
    ----------
    operation:
        ``align`` or ``merge``.
    architecture:
        Library and name.
    sources:
        In the order they were given.
    method, seed, data:
        Of matching; ``method`` is ``none`` where nothing was matched.
    spec_hash, log10_order:
        Of the architecture's spec.
    alignments:
        One per source but the first.
    weights:
        Of a merge, summing to one.
    statistics:
        What became of running statistics; ``stale_statistics`` follows from it.
    recomputed:
        Tensors that are not just a permutation or average of the sources' tensors.
    barrier:
        Barriers per curve, by both definitions; None if not measured.
    score:
        Loss and accuracy of a merge on the evaluation data; None if not measured.
    refit:
        How the weights of a merge were refitted; None if they were not.
    benefit:
        The merge beside its parents and their ensemble; None if not measured.
    versions, warnings, command:
        What it ran with, what it warned of, and the command line that does it again.
    settings:
        The other arguments of the operation, by name, for :mod:`zooalign.pipelines.reproduce`.
    names:
        Of a merge, what became of rows that stand for labels or tokens, where sources differ.
    """

    format: Literal["zooalign.provenance"] = "zooalign.provenance"
    version: Literal[1] = 1
    operation: Literal["align", "merge"]
    architecture: Mapping[str, str]
    sources: tuple[Source, ...]
    method: str
    seed: int
    data: DataUse | None
    spec_hash: str
    log10_order: float
    alignments: tuple[AlignmentRecord, ...]
    weights: tuple[float, ...] | None
    statistics: StatisticsRecord
    stale_statistics: bool = False
    recomputed: tuple[str, ...]
    barrier: tuple[BarrierSummary, ...] | None
    score: ScoreRecord | None
    refit: RefitRecord | None
    benefit: BenefitRecord | None
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    command: str | None
    settings: Mapping[str, Plain | Mapping[str, Plain]] = field(default_factory=dict)
    names: tuple[NamesRecord, ...] = ()

    @property
    def combination(self) -> Combination | None:
        """How the sources were combined, where that was not an average; MergeError if malformed."""
        recorded = self.settings.get("combine")
        return None if recorded is None else Combination.from_json(str(recorded))

    @property
    def dtype(self) -> torch.dtype | None:
        """What floating-point tensors were written in by request; MergeError if unknown."""
        return dtype_named(self.settings.get("dtype"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "stale_statistics", self.statistics == "stale")
        try:
            _ = self.combination, self.dtype
        except MergeError as error:
            raise ValueError(str(error)) from error
        if self.operation == "merge" and len(self.weights or ()) != len(self.sources):
            raise ValueError("a merge has one weight per source")
        if any(not 0 < a.source < len(self.sources) for a in self.alignments) or not self.sources:
            raise ValueError("an alignment is of no listed source")

    @classmethod
    def from_json(cls, text: str, where: str = "the provenance") -> "Provenance":
        """Read the file's text; it may come from anybody.

        Raises
        ------
        SpecError
            If it is not JSON, of another version, incomplete or malformed.
        """
        try:
            header = msgspec.json.decode(text, type=_Header)
            if header.format != cls.format:
                raise SpecError(f"{where} is not a provenance (its 'format' is not '{cls.format}')")
            if header.version != cls.version:
                raise SpecError(f"{where} has version {header.version}, {cls.version} is known")
            for name in ("settings", "names"):  # which only Python may leave out
                if getattr(header, name) is None:
                    raise SpecError(f"{where} is incomplete or malformed: `{name}` is missing")
            return msgspec.json.decode(text, type=cls)
        except msgspec.ValidationError as error:
            raise SpecError(f"{where} is incomplete or malformed: {error}") from error
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{where} is not JSON: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the file; described in ``docs/cli.md``."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


@contextmanager
def noted_warnings() -> Iterator[Callable[[], tuple[str, ...]]]:
    """A function that gives the messages of zooalign's warnings in the block so far.

    All warnings are passed on when the block ends, also by an error.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ZooalignWarning)
            yield lambda: _messages(caught)
    finally:
        for warning in caught:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _messages(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    messages = (str(w.message) for w in caught if issubclass(w.category, ZooalignWarning))
    return tuple(dict.fromkeys(messages))
