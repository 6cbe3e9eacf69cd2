"""How a released directory was made, as a value and as ``zooalign/provenance.json``."""

import json
import math
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from zooalign.errors import SpecError, ZooalignWarning
from zooalign.release.sources import Source

__all__ = ["STATISTICS", "Alignment", "DataUse", "Provenance", "noted_warnings", "versions"]

FORMAT = "zooalign.provenance"
VERSION = 1
# What became of running statistics: kept as they were (alignments), recomputed, replaced by
# REPAIR of the weights, left as the average of the parents', or absent.
STATISTICS = ("kept", "reset", "repaired", "stale", "none")


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(vars(self))


@dataclass(frozen=True)
class Alignment:
    """How one source was brought in the first one's order.

    ``source`` counts in ``Provenance.sources``; ``permutation`` is the file's name. Objectives
    are those of :class:`zooalign.matching.result.Match`.
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**vars(self), "diagnosis": dict(self.diagnosis), "details": dict(self.details)}


@dataclass(frozen=True)
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
        One of :data:`STATISTICS`.
    recomputed:
        Tensors that are not just a permutation or average of the sources' tensors.
    barrier:
        Barriers per curve, by both definitions; None if not measured.
    score:
        Loss and accuracy of a merge on the evaluation data; None if not measured.
    versions, warnings, command:
        What it ran with, what it warned of, and the command line that does it again.
    settings:
        The other arguments of the operation, by name, for :mod:`zooalign.pipelines.reproduce`.
    """

    operation: str
    architecture: Mapping[str, str]
    sources: tuple[Source, ...]
    method: str
    seed: int
    data: DataUse | None
    spec_hash: str
    log10_order: float
    alignments: tuple[Alignment, ...]
    weights: tuple[float, ...] | None
    statistics: str
    recomputed: tuple[str, ...]
    barrier: Any
    score: Any
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    command: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stale_statistics(self) -> bool:
        """Whether running statistics do not belong to the weights."""
        return self.statistics == "stale"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; described in ``docs/cli.md``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "operation": self.operation,
            "architecture": dict(self.architecture),
            "sources": [source.to_dict() for source in self.sources],
            "method": self.method,
            "seed": self.seed,
            "data": None if self.data is None else self.data.to_dict(),
            "spec_hash": self.spec_hash,
            "log10_order": self.log10_order,
            "alignments": [alignment.to_dict() for alignment in self.alignments],
            "weights": None if self.weights is None else list(self.weights),
            "statistics": self.statistics,
            "stale_statistics": self.stale_statistics,
            "recomputed": list(self.recomputed),
            "barrier": self.barrier,
            "score": self.score,
            "versions": dict(self.versions),
            "warnings": list(self.warnings),
            "command": self.command,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, text: str, where: str = "the provenance") -> "Provenance":
        """Read the file's text; it may come from anybody.

        Raises
        ------
        SpecError
            If it is not JSON, of another version, incomplete or malformed.
        """
        try:
            body = json.loads(text)
            # Half a character, which JSON can write (backslash-u-d800), cannot stand in a card.
            json.dumps(body, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{where} is not JSON: {error}") from error
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise SpecError(f"{where} is no provenance (its 'format' is not '{FORMAT}')")
        if body.get("version") != VERSION:
            raise SpecError(f"{where} has version {body.get('version')!r}, {VERSION} is known")
        try:
            return _from_dict(body)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise SpecError(
                f"{where} is incomplete or malformed: {type(error).__name__}: {error}"
            ) from error


def _from_dict(body: Mapping[str, Any]) -> Provenance:
    data = body["data"]
    weights = body["weights"]
    found = Provenance(
        operation=str(body["operation"]),
        architecture={str(k): str(v) for k, v in body["architecture"].items()},
        sources=tuple(Source.from_dict(entry) for entry in body["sources"]),
        method=str(body["method"]),
        seed=int(body["seed"]),
        data=None if data is None else DataUse(**data),
        spec_hash=str(body["spec_hash"]),
        log10_order=_number(body["log10_order"]),
        alignments=tuple(_alignment(entry) for entry in body["alignments"]),
        weights=None if weights is None else tuple(_number(w) for w in weights),
        statistics=str(body["statistics"]),
        recomputed=tuple(str(name) for name in body["recomputed"]),
        barrier=body["barrier"],
        score=body["score"],
        versions={str(k): str(v) for k, v in body["versions"].items()},
        warnings=tuple(str(w) for w in body["warnings"]),
        command=None if body["command"] is None else str(body["command"]),
        settings=_settings(body["settings"]),
    )
    if found.operation not in ("align", "merge"):
        raise ValueError(f"operation {found.operation!r} is not known")
    if found.statistics not in STATISTICS:
        raise ValueError(f"statistics {found.statistics!r} is not one of {STATISTICS}")
    if found.operation == "merge" and len(found.weights or ()) != len(found.sources):
        raise ValueError("a merge has one weight per source")
    if not found.sources or any(not 0 < a.source < len(found.sources) for a in found.alignments):
        raise ValueError("an alignment is of no listed source")
    return found


def _settings(value: Any) -> dict[str, Any]:
    """Names to texts, numbers and booleans; one table of them inside."""
    if not isinstance(value, dict):
        raise TypeError("settings are no table")
    for name, item in value.items():
        inner = item.values() if isinstance(item, dict) else [item]
        if not all(part is None or isinstance(part, (str, bool, int, float)) for part in inner):
            raise TypeError(f"settings: {name} is no plain value")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _alignment(body: Mapping[str, Any]) -> Alignment:
    numbers = (
        "moved_fraction",
        "objective_before",
        "objective_after",
        "max_relative_error",
        "tolerance",
    )
    return Alignment(
        source=int(body["source"]),
        permutation=str(body["permutation"]),
        **{name: _number(body[name]) for name in numbers},
        diagnosis=dict(body["diagnosis"]),
        details={
            str(k): v if isinstance(v, str) else _number(v) for k, v in body["details"].items()
        },
    )


_PACKAGES = ("zooalign", "torch", "timm", "safetensors", "numpy", "scipy", "huggingface_hub")


def versions() -> dict[str, str]:
    """Versions of Python, the platform (no host name) and the packages that bear on results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found | {"platform": f"{platform.system()} {platform.machine()}"}


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
    found = (str(w.message) for w in caught if issubclass(w.category, ZooalignWarning))
    return tuple(dict.fromkeys(found))
