"""The report of ``zooalign connectivity`` for people: text, tables and pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from zooalign.merging.connectivity import HOWS, Connected, Connectivity
from zooalign.merging.curve import Spread, spread_of
from zooalign.merging.plot import plot_lines, plot_simplex
from zooalign.merging.trajectory import BARRIERS, Trajectory
from zooalign.pipelines.connectivity_result import ConnectivityResult, Spreads

__all__ = ["Picture", "TextTable", "along", "draw", "page", "sections"]

# The words for the ways to permute, and for the permutations along a training.
_LABELS: Mapping[str, str] = {
    "as_is": "as they are",
    "pairwise": "pairwise",
    "composed": "composed",
    "universe": "one permutation each",
    "own": "its own permutation",
    "last": "the last one's",
    "stacked": "one for all",
    "at_end": "this one's, at the end",
}
_DEFINITIONS = {"over_line": "over the line", "over_mean": "over the mean"}


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text; Markdown shows the cells of ``code`` columns as code."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture that :func:`draw` writes."""

    title: str
    file: str


def page(result: ConnectivityResult) -> str:
    """The report as Markdown: the numbers of its JSON, and the pictures."""
    parts = ["# How these models connect", *map(_markdown, sections(result))]
    return "\n\n".join(parts) + "\n"


def sections(result: ConnectivityResult) -> Iterator[str | TextTable | Picture]:
    """The report as paragraphs, tables and pictures, in reading order."""
    reset = ", running statistics reset between the models" if result.statistics_reset else ""
    yield (
        f"Permutations by {result.method} matching, all at once through: {result.through}. "
        f"Scored on {_code(result.data)}{reset}."
    )
    models = [(network.reference, network) for network in result.networks]
    scored = [*models, ("the average of all, one permutation each", result.merged)]
    yield TextTable(
        ("", "model", "loss", "accuracy"),
        tuple(
            (
                str(number) if number <= len(models) else "",
                name,
                f"{score.loss:.4f}",
                "" if score.accuracy is None else f"{score.accuracy:.4f}",
            )
            for number, (name, score) in enumerate(scored, start=1)
        ),
        code=("model",),
    )
    yield f"Barriers: mean ± standard deviation (greatest) over {_pairs(result)}."
    yield TextTable(
        ("", "quantity", *_DEFINITIONS.values()),
        tuple(
            (_LABELS[how], quantity, *(_spread(spreads[name]) for name in _DEFINITIONS))
            for how, quantities in result.summary.items()
            for quantity, spreads in quantities.items()
        ),
    )
    yield Picture("barriers", "barriers.svg")
    if len(result.networks) > 2:
        yield from _of_three(result)
    if result.trajectory_summary is not None:
        yield from _of_trainings(result, result.trajectory_summary)


def _of_three(result: ConnectivityResult) -> Iterator[str | TextTable | Picture]:
    barriers = result.simplex.barrier.items()
    over_plane, over_mean = (
        ", ".join(f"{getattr(barrier, name):.4f} ({quantity})" for quantity, barrier in barriers)
        for name in _DEFINITIONS
    )
    yield (
        "The simplex of models 1, 2 and 3, one permutation each: barrier over the plane through "
        f"the three {over_plane}; over their mean {over_mean}."
    )
    yield Picture("simplex", "simplex.svg")
    yield TextTable(
        ("around", "units moved, pairwise", "units moved, one permutation each"),
        tuple(
            (
                "-".join(str(n + 1) for n in cycle.networks),
                f"{cycle.pairwise_moved:.1%}",
                f"{cycle.universe_moved:.1%}",
            )
            for cycle in result.cycles
        ),
    )


def _of_trainings(
    result: ConnectivityResult, summary: Mapping[str, Sequence[Spreads]]
) -> Iterator[str | TextTable | Picture]:
    measured = {which: steps for which, steps in summary.items() if steps}
    yield (
        "Barriers along the trainings, over the line: at a checkpoint under several permutations, "
        "and at the end under this checkpoint's. Mean ± standard deviation (greatest) over "
        f"{_pairs(result)}."
    )
    names = [_stem(name) for name in result.networks[0].checkpoints or ()]
    for quantity in measured["own"][0]:
        yield TextTable(
            (f"{quantity}, checkpoint", *(_LABELS[which] for which in measured)),
            tuple(
                (name, *(_spread(s[step][quantity]["over_line"]) for s in measured.values()))
                for step, name in enumerate(names)
            ),
        )
    yield Picture("along the trainings", "trajectory.svg")


def _markdown(section: str | TextTable | Picture) -> str:
    if isinstance(section, str):
        return section
    if isinstance(section, Picture):
        return f"![{section.title}]({section.file})"
    header = section.header
    cells = [
        [_code(c) if h in section.code else c for h, c in zip(header, row, strict=True)]
        for row in section.rows
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (header, *cells)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _code(text: str) -> str:
    """As code in a table: no backtick or bar ends it."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _spread(spread: Spread) -> str:
    if spread.count == 1:
        return f"{spread.mean:.4f}"
    return f"{spread.mean:.4f} ± {spread.std:.4f} ({spread.max:.4f})"


def _pairs(result: ConnectivityResult) -> str:
    count = len(result.networks) * (len(result.networks) - 1) // 2
    return f"{count} pair{'s' if count > 1 else ''}"


def _stem(checkpoint: str) -> str:
    return Path(checkpoint).name.removesuffix(".safetensors")


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
            title = {_LABELS["universe"]: measured.simplex}
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
    stems = [_stem(name) for name in checkpoints]
    matches = [re.fullmatch(r"(.*?)(\d+)\D*", stem) for stem in stems]
    parts = [match.groups() for match in matches if match is not None]
    numbers = [float(number) for _, number in parts]
    if len(numbers) == len(stems) and all(a < b for a, b in pairwise(numbers)):
        words = {re.split(r"[^A-Za-z]+", before.rstrip("-_=. "))[-1] for before, _ in parts}
        return (words.pop() if len(words) == 1 else "") or "checkpoint", numbers, None
    places = [float(n) for n in range(1, len(stems) + 1)]
    return "checkpoint", places, {at: f"{at:.0f}" for at in places}


def _curves(measured: Connectivity) -> Panels:
    """Every way's curves, and its barrier in the legend."""
    panels: Panels = {}
    for how in HOWS:
        curves = [pair.curve for pair in measured.of(how)]
        for quantity in curves[0].barrier if curves else ():
            values = [getattr(curve.train, quantity) for curve in curves]
            spread = spread_of([curve.barrier[quantity].over_line for curve in curves])
            text = f"{_LABELS[how]}: {spread.mean:.3g}"
            text += f" ± {spread.std:.2g}" if spread.count > 1 else ""
            panels.setdefault(f"{quantity} (legend: barrier over the line)", {})[text] = [
                (alpha, [v[at] for v in values]) for at, alpha in enumerate(curves[0].alphas)
            ]
    return panels


def _trajectories(trajectories: Sequence[Trajectory], at: Sequence[float]) -> Panels:
    return {
        f"{quantity} barrier over the line": {
            _LABELS[which]: [
                (x, [one.values(which, quantity)[t] for one in trajectories])
                for t, x in enumerate(at)
            ]
            for which in BARRIERS
            if trajectories[0].barriers[which]
        }
        for quantity in trajectories[0].barriers["own"][0]
    }
