"""The JSON of ``zooalign connectivity`` (``docs/cli.md``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from zooalign.merging.curve import Barrier, BarrierCurve, Scores, Spread
from zooalign.merging.evaluate import Score

__all__ = ["ConnectivityResult", "Spreads"]


@dataclass(frozen=True)
class _Named:
    reference: str
    checkpoints: tuple[str, ...] | None


@dataclass(frozen=True)
class NetworkResult(Score, _Named):
    """The score of a network; ``checkpoints`` is None without trajectories."""


@dataclass(frozen=True)
class Objective:
    """Of matching all at once, the mean over pairs; ``reference`` is whose order is kept."""

    before: float
    after: float
    reference: int


@dataclass(frozen=True)
class MidpointScores:
    """The scores in the middle of a line."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class _Pair:
    a: int
    b: int
    how: str
    via: int | None
    midpoint: MidpointScores


@dataclass(frozen=True, kw_only=True)
class PairResult(BarrierCurve, _Pair):
    """The curve of a pair of networks."""


@dataclass(frozen=True)
class Cycle:
    """The shares of units that permutations composed around three networks move."""

    networks: tuple[int, int, int]
    pairwise_moved: float
    universe_moved: float


@dataclass(frozen=True, kw_only=True)
class SimplexResult(Scores):
    """Scores on a grid over the simplex of three networks."""

    version: Literal[1]
    weights: tuple[tuple[float, ...], ...]
    statistics_reset: bool


Steps = tuple[Mapping[str, Barrier], ...]
Spreads = Mapping[str, Mapping[str, Spread]]


@dataclass(frozen=True, kw_only=True)
class TrajectoryResult:
    """Barriers of a pair along its trainings, one a checkpoint."""

    a: int
    b: int
    as_is: Steps
    own: Steps
    last: Steps
    stacked: Steps
    at_end: Steps


@dataclass(frozen=True, kw_only=True)
class ConnectivityResult:
    """The JSON of ``zooalign connectivity`` (``docs/cli.md``)."""

    networks: tuple[NetworkResult, ...]
    method: str
    through: str
    data: str
    objective: Objective
    summary: Mapping[str, Spreads]
    pairs: tuple[PairResult, ...]
    cycles: tuple[Cycle, ...]
    simplex: SimplexResult
    merged: Score
    statistics_reset: bool
    trajectories: tuple[TrajectoryResult, ...] | None
    trajectory_summary: Mapping[str, tuple[Spreads, ...]] | None
    output: str | None
    plots: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    dry_run: bool
