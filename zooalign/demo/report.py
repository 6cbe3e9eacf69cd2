"""The results of the demo, as a value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from zooalign.demo.hub import RoundTrip
from zooalign.gate.findings import CheckReport
from zooalign.merging.curve import BarrierCurve

__all__ = [
    "AlignFacts",
    "DemoReport",
    "Downloaded",
    "Line",
    "MergedScores",
    "Network",
    "SpecFacts",
]


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
class MergedScores:
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
class DemoReport:
    """The JSON of ``zooalign demo`` (``docs/cli.md``).

    ``ok`` says that everything that can be proved was. Paths are relative to ``output``.
    """

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
    merged: MergedScores
    check: CheckReport
    published: RoundTrip
    downloaded: Downloaded
    plots: tuple[str, ...]
    commands: tuple[str, ...]
    seconds: float
