"""The results of the demo, as a value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zooalign.demo.hub import RoundTrip
from zooalign.gate.findings import CheckReport
from zooalign.merging.curve import BarrierCurve
from zooalign.release.provenance import Provenance
from zooalign.release.results import merged_fields, plain
from zooalign.symmetry import Verification

__all__ = ["DemoReport", "DemoResult", "Line"]


@dataclass(frozen=True)
class Line:
    """The straight line between the two networks: its barriers, and what its midpoint is worth.

    ``barrier`` has ``loss`` and ``error``, each with ``over_line`` and ``over_mean``.
    """

    barrier: dict[str, dict[str, float]]
    midpoint_loss: float
    midpoint_accuracy: float

    @classmethod
    def of(cls, curve: BarrierCurve) -> "Line":
        """Of a curve with an accuracy; the midpoint is the alpha nearest to one half."""
        middle = min(range(len(curve.alphas)), key=lambda i: abs(curve.alphas[i] - 0.5))
        assert curve.train.accuracy is not None
        return cls(
            {name: asdict(barrier) for name, barrier in curve.barrier.items()},
            curve.train.loss[middle],
            curve.train.accuracy[middle],
        )


@dataclass(frozen=True)
class Network:
    """One of the trained networks."""

    directory: str
    accuracy: float


@dataclass(frozen=True)
class SpecFacts:
    """The symmetries, and their numeric proof."""

    groups: int
    log10_order: float
    hash: str
    max_relative_error: float
    tolerance: float


@dataclass(frozen=True)
class AlignFacts:
    """The alignment, as of ``zooalign align``."""

    method: str
    moved_fraction: float
    objective_before: float
    objective_after: float
    max_relative_error: float
    tolerance: float


@dataclass(frozen=True)
class Merged:
    """The merge, and what became of its running statistics."""

    directory: str
    accuracy: float
    statistics: str


@dataclass(frozen=True)
class Downloaded:
    """The download, and its relative error against the merge."""

    directory: str
    max_relative_error: float
    accuracy: float


@dataclass(frozen=True)
class DemoResult:
    """The JSON of ``zooalign demo`` (``docs/cli.md``)."""

    ok: bool
    output: str
    seed: int
    architecture: str
    parameters: int
    rows: Mapping[str, int]
    networks: tuple[Network, ...]
    spec: SpecFacts
    align: AlignFacts
    before: Line
    after: Line
    merged: Merged
    check: CheckReport
    published: RoundTrip
    downloaded: Downloaded
    plots: tuple[str, ...]
    commands: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class DemoReport:
    """All the demo shows. Paths are relative to ``output``."""

    output: str
    seed: int
    architecture: str
    parameters: int
    rows: dict[str, int]
    networks: tuple[str, str]
    accuracies: tuple[float, float]
    groups: int
    verification: Verification
    before: Line
    after: Line
    merge: Provenance
    merged_accuracy: float
    check: CheckReport
    hub: RoundTrip
    downloaded_relative_error: float
    downloaded_accuracy: float
    plots: tuple[str, ...]
    commands: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that can be proved was."""
        return (
            self.verification.ok
            and self.check.ok
            and self.hub.verified
            and self.hub.same_bytes
            and self.downloaded_relative_error == 0
        )

    def at(self, output: Path) -> "DemoReport":
        """The same report of the folder in its final place."""
        return replace(self, output=str(output))

    @property
    def result(self) -> DemoResult:
        """Its JSON."""
        proof, alignment = self.verification, self.merge.alignments[0]
        return merged_fields(
            DemoResult,
            self,
            {
                "ok": self.ok,
                "networks": [
                    Network(*pair) for pair in zip(self.networks, self.accuracies, strict=True)
                ],
                "spec": {**vars(proof), "groups": self.groups, "hash": self.merge.spec_hash},
                "align": {**vars(alignment), "method": self.merge.method},
                "merged": Merged("merged", self.merged_accuracy, self.merge.statistics),
                "published": self.hub,
                "downloaded": Downloaded(
                    "downloaded", self.downloaded_relative_error, self.downloaded_accuracy
                ),
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON as plain values."""
        return dict(plain(self.result))
