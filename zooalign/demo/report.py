"""What the demo found, as a value."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zooalign.demo.hub import RoundTrip
from zooalign.gate.findings import CheckReport
from zooalign.merging.curve import BarrierCurve
from zooalign.release.provenance import Provenance
from zooalign.symmetry import Verification

__all__ = ["DemoReport", "Line"]


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
            {name: asdict(found) for name, found in curve.barrier.items()},
            curve.train.loss[middle],
            curve.train.accuracy[middle],
        )


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

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        found = self.merge.alignments[0]
        return {
            "ok": self.ok,
            "output": self.output,
            "seed": self.seed,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "rows": self.rows,
            "networks": [
                {"directory": name, "accuracy": accuracy}
                for name, accuracy in zip(self.networks, self.accuracies, strict=True)
            ],
            "spec": {
                "groups": self.groups,
                "log10_order": self.verification.log10_order,
                "hash": self.merge.spec_hash,
                "max_relative_error": self.verification.max_relative_error,
                "tolerance": self.verification.tolerance,
            },
            "align": {
                "method": self.merge.method,
                "moved_fraction": found.moved_fraction,
                "objective_before": found.objective_before,
                "objective_after": found.objective_after,
                "max_relative_error": found.max_relative_error,
                "tolerance": found.tolerance,
            },
            "before": asdict(self.before),
            "after": asdict(self.after),
            "merged": {
                "directory": "merged",
                "accuracy": self.merged_accuracy,
                "statistics": self.merge.statistics,
            },
            "check": self.check.to_dict(),
            "published": asdict(self.hub),
            "downloaded": {
                "directory": "downloaded",
                "max_relative_error": self.downloaded_relative_error,
                "accuracy": self.downloaded_accuracy,
            },
            "plots": list(self.plots),
            "commands": list(self.commands),
            "seconds": self.seconds,
        }
