"""What ``zooalign connectivity -o DIR`` writes for people: pictures, and a page of tables."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from zooalign.errors import MergeError, ModelReferenceError
from zooalign.graph.lazy_state import float_state
from zooalign.matching.many import WAYS
from zooalign.merging.connectivity import HOWS, Connected, Connectivity, Matching, connect
from zooalign.merging.curve import Barrier, BarrierCurve, Scores, Spread, spread_of
from zooalign.merging.evaluate import Score, Scoring
from zooalign.merging.plot import plot_lines, plot_simplex
from zooalign.merging.trajectory import BARRIERS, Trajectory, trajectory_summary
from zooalign.progress import Progress, silent
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.layout import json_bytes
from zooalign.release.opening import open_family
from zooalign.release.provenance import noted_warnings
from zooalign.release.results import merged_fields, plain
from zooalign.release.settings import ConnectivitySettings
from zooalign.zoo.files import new_directory

__all__ = [
    "LABELS",
    "PAGE",
    "REPORT",
    "ConnectivityReport",
    "ConnectivityResult",
    "along",
    "checkpoints_of",
    "connectivity_models",
    "draw",
    "page",
]


LABELS: Mapping[str, str] = {
    "as_is": "as they are",
    "pairwise": "pairwise",
    "composed": "composed",
    "universe": "one permutation each",
    "own": "its own permutation",
    "last": "the last one's",
    "stacked": "one for all",
    "at_end": "this one's, at the end",
}
_KINDS = {"over_line": "over the line", "over_mean": "over the mean"}

# Label of the vertical axis to lines, as plot_lines takes them.
Panels = dict[str, dict[str, list[tuple[float, list[float]]]]]


def draw(connected: Connected, checkpoints: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Draw the pictures, each as SVG and PNG; their names.

    ``checkpoints`` are the first training's (empty without trajectories).
    """
    measured, names = connected.connectivity, []
    for suffix in (".svg", ".png"):
        picture = folder / f"barriers{suffix}"
        plot_lines(_curves(measured), picture, x="α, from one network (0) to the other (1)")
        names.append(picture.name)
        if len(measured.ends) > 2:
            labels = [f"{n + 1}" for n in range(3)]
            title = {LABELS["universe"]: measured.simplex}
            names.append(plot_simplex(title, labels, folder / f"simplex{suffix}").name)
        if connected.trajectories:
            label, at, ticks = along(checkpoints)
            picture = folder / f"trajectory{suffix}"
            plot_lines(_trajectories(connected.trajectories, at), picture, x=label, ticks=ticks)
            names.append(picture.name)
    return tuple(names)


def along(checkpoints: Sequence[str]) -> tuple[str, list[float], dict[float, str] | None]:
    """Label, places and ticks of the axis along a training.

    Steps, where the last numbers in the checkpoints' names rise; else they are counted.
    """
    stems = [Path(name).name.removesuffix(".safetensors") for name in checkpoints]
    matches = [re.fullmatch(r"(.*?)(\d+)\D*", stem) for stem in stems]
    parts = [match.groups() for match in matches if match is not None]
    numbers = [float(number) for _, number in parts]
    if len(numbers) == len(stems) and all(a < b for a, b in pairwise(numbers)):
        words = {re.split(r"[^A-Za-z]+", before.rstrip("-_=. "))[-1] for before, _ in parts}
        return (words.pop() if len(words) == 1 else "") or "checkpoint", numbers, None
    places = [float(n) for n in range(1, len(stems) + 1)]
    return "checkpoint", places, {at: f"{at:.0f}" for at in places}


def page(body: Mapping[str, Any]) -> str:
    """The report as Markdown, from its JSON: the same numbers, and the pictures."""
    networks = body["networks"]
    parts = [
        "# How these models connect",
        f"Permutations by {body['method']} matching, all at once through: {body['through']}. "
        f"Scored on {_code(body['data'])}"
        + (", running statistics reset between the models." if body["statistics_reset"] else "."),
        _table(
            ["", "model", "loss", "accuracy"],
            [
                [n + 1, _code(one["reference"]), f"{one['loss']:.4f}", _number(one["accuracy"])]
                for n, one in enumerate(networks)
            ]
            + [["", "the average of all, one permutation each", f"{body['merged']['loss']:.4f}",
                _number(body["merged"]["accuracy"])]],
        ),
        f"Barriers: mean ± standard deviation (greatest) over {_pairs(len(networks))}.",
        _table(
            ["", "quantity", *_KINDS.values()],
            [
                [LABELS[how], quantity, *(_spread(spreads[name]) for name in _KINDS)]
                for how, quantities in body["summary"].items()
                for quantity, spreads in quantities.items()
            ],
        ),
        "![barriers](barriers.svg)",
    ]  # fmt: skip
    if len(networks) > 2:
        parts += _of_three(body)
    if body["trajectory_summary"] is not None:
        parts += _of_trainings(body)
    return "\n\n".join(parts) + "\n"


def _of_three(body: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "The simplex of models 1, 2 and 3, one permutation each: barrier over the plane through "
        "the three "
        + ", ".join(f"{b['over_line']:.4f} ({q})" for q, b in body["simplex"]["barrier"].items())
        + "; over their mean "
        + ", ".join(f"{b['over_mean']:.4f} ({q})" for q, b in body["simplex"]["barrier"].items())
        + "."
    )
    yield "![simplex](simplex.svg)"
    yield _table(
        ["around", "units moved, pairwise", "units moved, one permutation each"],
        [
            ["-".join(str(n + 1) for n in cycle["networks"]), f"{cycle['pairwise_moved']:.1%}",
             f"{cycle['universe_moved']:.1%}"]
            for cycle in body["cycles"]
        ],
    )  # fmt: skip


def _of_trainings(body: Mapping[str, Any]) -> Iterable[str]:
    summary = {which: steps for which, steps in body["trajectory_summary"].items() if steps}
    names = [
        Path(name).name.removesuffix(".safetensors") for name in body["networks"][0]["checkpoints"]
    ]
    yield (
        "Barriers along the trainings, over the line: at a checkpoint under several permutations, "
        f"and at the end under this checkpoint's. Mean ± standard deviation (greatest) over "
        f"{_pairs(len(body['networks']))}."
    )
    for quantity in summary["own"][0]:
        yield _table(
            [f"{quantity}, checkpoint", *(LABELS[which] for which in summary)],
            [
                [name, *(_spread(steps[step][quantity]["over_line"]) for steps in summary.values())]
                for step, name in enumerate(names)
            ],
        )
    yield "![along the trainings](trajectory.svg)"


def _curves(measured: Connectivity) -> Panels:
    """Every way's curves, and its barrier in the legend."""
    panels: Panels = {}
    for how in HOWS:
        curves = [pair.curve for pair in measured.of(how)]
        for quantity in curves[0].barrier if curves else ():
            values = [getattr(curve.train, quantity) for curve in curves]
            spread = spread_of([curve.barrier[quantity].over_line for curve in curves])
            text = f"{LABELS[how]}: {spread.mean:.3g}"
            text += f" ± {spread.std:.2g}" if spread.count > 1 else ""
            panels.setdefault(f"{quantity} (legend: barrier over the line)", {})[text] = [
                (alpha, [v[at] for v in values]) for at, alpha in enumerate(curves[0].alphas)
            ]
    return panels


def _trajectories(trajectories: Sequence[Trajectory], at: Sequence[float]) -> Panels:
    return {
        f"{quantity} barrier over the line": {
            LABELS[which]: [
                (x, [one.values(which, quantity)[t] for one in trajectories])
                for t, x in enumerate(at)
            ]
            for which in BARRIERS
            if trajectories[0].barriers[which]
        }
        for quantity in trajectories[0].barriers["own"][0]
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *lines])


def _code(text: str) -> str:
    """As code in a table: no backtick or bar ends it."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _spread(spread: Mapping[str, float]) -> str:
    if spread["count"] == 1:
        return f"{spread['mean']:.4f}"
    return f"{spread['mean']:.4f} ± {spread['std']:.4f} ({spread['max']:.4f})"


def _pairs(models: int) -> str:
    count = models * (models - 1) // 2
    return f"{count} pair{'s' if count > 1 else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


REPORT, PAGE = "connectivity.json", "connectivity.md"
_NEEDED_BYTES = 20_000_000


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
class Midpoint:
    """The scores in the middle of a line."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class _Pair:
    a: int
    b: int
    how: str
    via: int | None
    midpoint: Midpoint


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


@dataclass(frozen=True)
class ConnectivityReport:
    """What ``zooalign connectivity`` measured.

    ``references`` names every network, ``checkpoints`` those of each (empty without trajectories).
    """

    references: tuple[str, ...]
    checkpoints: tuple[tuple[str, ...], ...]
    matching: Matching
    data: str
    connected: Connected
    output: str | None
    plots: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def result(self) -> ConnectivityResult:
        """Its JSON."""
        measured, trajectories = self.connected.connectivity, self.connected.trajectories
        along = {
            "method": self.matching.method,
            "through": measured.many.through,
            "networks": [
                {"reference": reference, "checkpoints": names or None, **vars(end)}
                for reference, names, end in zip(
                    self.references, self.checkpoints, measured.ends, strict=True
                )
            ],
            "trajectories": [one.to_dict() for one in trajectories] or None,
            "trajectory_summary": trajectory_summary(trajectories) if trajectories else None,
        }
        return merged_fields(ConnectivityResult, self, measured.to_dict(), along)


def checkpoints_of(folder: str) -> tuple[str, ...]:
    """The checkpoints of a training: subfolders and ``.safetensors`` files, numbers in order.

    Raises
    ------
    ModelReferenceError
        If the folder is not there or holds less than two.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ModelReferenceError(
            f"'{folder}' is not a directory: a training is a directory with one subdirectory or "
            ".safetensors file a checkpoint"
        )
    entries = [
        entry
        for entry in path.iterdir()
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix == ".safetensors")
    ]
    if len(entries) < 2:
        raise ModelReferenceError(
            f"'{folder}' holds {len(entries)} checkpoints, and a training has two or more: "
            "subdirectories, or .safetensors files (with --model)"
        )
    return tuple(str(entry) for entry in sorted(entries, key=lambda entry: _natural(entry.name)))


def connectivity_models(
    references: Sequence[str], settings: ConnectivitySettings, *, progress: Progress = silent
) -> ConnectivityReport:
    """Measure how models of one architecture connect, two by two and all at once.

    Parameters
    ----------
    references:
        Two models or more; with ``settings.trajectories`` directories of checkpoints
        (:func:`checkpoints_of`), as many in each.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.
    """
    start = time.perf_counter()
    matching = Matching(
        settings.method, settings.through, settings.references, settings.options, settings.seed
    )
    if len(references) < 2:
        raise MergeError("connectivity is of two models or more")
    if matching.through not in WAYS:
        raise MergeError(f"no way '{matching.through}'; there are {', '.join(WAYS)}")
    checkpoints = [checkpoints_of(r) if settings.trajectories else () for r in references]
    lengths = {len(names) for names in checkpoints}
    if len(lengths) > 1:
        raise MergeError(
            f"trainings of {sorted(lengths)} checkpoints cannot be compared: give as many of each, "
            "taken at the same steps"
        )
    with ExitStack() as stack:
        folder = None
        if settings.output is not None:
            # Before hours of work: a directory that must not be replaced is refused at once.
            folder = stack.enter_context(
                new_directory(
                    settings.output,
                    needed=_NEEDED_BYTES,
                    overwrite=settings.overwrite,
                    marker=REPORT,
                )
            )
        notes = stack.enter_context(noted_warnings())
        progress("open", 0, 1)
        connected = _measured(references, checkpoints, settings, matching, progress)
        plots = () if folder is None else draw(connected, checkpoints[0], folder)
        report = ConnectivityReport(
            tuple(references),
            tuple(checkpoints),
            matching,
            settings.data,
            connected,
            settings.output,
            plots,
            notes(),
            time.perf_counter() - start,
        )
        if folder is not None:
            (folder / REPORT).write_bytes(json_bytes(report.result))
            (folder / PAGE).write_text(page(plain(report.result)), encoding="utf-8")
    return report


def _measured(
    references: Sequence[str],
    checkpoints: Sequence[Sequence[str]],
    settings: ConnectivitySettings,
    matching: Matching,
    progress: Progress,
) -> Connected:
    flat = [name for names in checkpoints for name in names] or list(references)
    family = open_family(flat, model=settings.model, allow_pickle=settings.allow_pickle)
    scored = open_for(family.first, settings.data, settings.loading)
    calibrating = scored
    if settings.calibration is not None:
        calibrating = open_for(family.first, settings.calibration, settings.loading)
    states = [float_state(member.state, settings.device) for member in family.members]
    size = max(1, len(checkpoints[0]))
    loss, metric = scoring(family.first)
    return connect(
        Scoring(
            family.module,
            scored,
            reset=FullBatches(calibrating) if settings.reset else None,
            loss=loss,
            metric=metric,
        ),
        family.spec,
        [states[n : n + size] for n in range(0, len(states), size)],
        calibration=calibrating,
        matching=matching,
        alphas=settings.alphas,
        steps=settings.steps,
        progress=progress,
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """``step9`` before ``step10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _parts(name)]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
