"""What ``zooalign connectivity -o DIR`` writes for people: pictures, and a page of tables."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from zooalign.merging.connecting import Connected
from zooalign.merging.connectivity import HOWS, Connectivity, spread_of
from zooalign.merging.plot_many import plot_lines, plot_simplex
from zooalign.merging.trajectory import BARRIERS, Trajectory

__all__ = ["LABELS", "along", "draw", "page"]

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


def draw(found: Connected, checkpoints: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Draw the pictures, each as SVG and PNG; their names.

    ``checkpoints`` are the first training's (empty without trajectories).
    """
    measured, names = found.connectivity, []
    for suffix in (".svg", ".png"):
        picture = folder / f"barriers{suffix}"
        plot_lines(_curves(measured), picture, x="α, from one network (0) to the other (1)")
        names.append(picture.name)
        if len(measured.ends) > 2:
            labels = [f"{n + 1}" for n in range(3)]
            title = {LABELS["universe"]: measured.simplex}
            names.append(plot_simplex(title, labels, folder / f"simplex{suffix}").name)
        if found.trajectories:
            label, at, ticks = along(checkpoints)
            picture = folder / f"trajectory{suffix}"
            plot_lines(_trajectories(found.trajectories, at), picture, x=label, ticks=ticks)
            names.append(picture.name)
    return tuple(names)


def along(checkpoints: Sequence[str]) -> tuple[str, list[float], dict[float, str] | None]:
    """Label, places and ticks of the axis along a training.

    Steps, where the last numbers in the checkpoints' names rise; else they are counted.
    """
    stems = [Path(name).name.removesuffix(".safetensors") for name in checkpoints]
    found = [re.fullmatch(r"(.*?)(\d+)\D*", stem) for stem in stems]
    parts = [match.groups() for match in found if match is not None]
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
                [n + 1, _code(own["reference"]), f"{own['loss']:.4f}", _number(own["accuracy"])]
                for n, own in enumerate(networks)
            ]
            + [["", "the average of all, one permutation each", f"{body['merged']['loss']:.4f}",
                _number(body["merged"]["accuracy"])]],
        ),
        f"Barriers: mean ± standard deviation (greatest) over {_pairs(len(networks))}.",
        _table(
            ["", "quantity", *_KINDS.values()],
            [
                [LABELS[how], quantity, *(_spread(own[name]) for name in _KINDS)]
                for how, found in body["summary"].items()
                for quantity, own in found.items()
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
        "The simplex of models 1, 2 and 3, one permutation each: barrier over the plane through the "
        "three "
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
    summary = {which: own for which, own in body["trajectory_summary"].items() if own}
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
                [name, *(_spread(own[step][quantity]["over_line"]) for own in summary.values())]
                for step, name in enumerate(names)
            ],
        )
    yield "![along the trainings](trajectory.svg)"


def _curves(measured: Connectivity) -> Panels:
    """Every way's curves, and its barrier in the legend."""
    panels: Panels = {}
    for how in HOWS:
        own = [pair.curve for pair in measured.of(how)]
        for quantity in own[0].barrier if own else ():
            values = [getattr(curve.train, quantity) for curve in own]
            spread = spread_of([curve.barrier[quantity].over_line for curve in own])
            text = f"{LABELS[how]}: {spread.mean:.3g}"
            text += f" ± {spread.std:.2g}" if spread.count > 1 else ""
            panels.setdefault(f"{quantity} (legend: barrier over the line)", {})[text] = [
                (alpha, [v[at] for v in values]) for at, alpha in enumerate(own[0].alphas)
            ]
    return panels


def _trajectories(found: Sequence[Trajectory], at: Sequence[float]) -> Panels:
    return {
        f"{quantity} barrier over the line": {
            LABELS[which]: [
                (x, [one.values(which, quantity)[t] for one in found]) for t, x in enumerate(at)
            ]
            for which in BARRIERS
            if found[0].barriers[which]
        }
        for quantity in found[0].barriers["own"][0]
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *lines])


def _code(text: str) -> str:
    """As code in a table: no backtick or bar ends it."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _spread(own: Mapping[str, float]) -> str:
    if own["count"] == 1:
        return f"{own['mean']:.4f}"
    return f"{own['mean']:.4f} ± {own['std']:.4f} ({own['max']:.4f})"


def _pairs(models: int) -> str:
    count = models * (models - 1) // 2
    return f"{count} pair{'s' if count > 1 else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
