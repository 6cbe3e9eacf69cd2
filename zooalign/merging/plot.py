"""Barrier curves, simplices of three networks and lines over seeds, as pictures."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zooalign.errors import CheckpointError, MergeError
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.drawing import ENDS, draw_curves
from zooalign.merging.simplex import Simplex
from zooalign.merging.style import (
    HEAT,
    Axes,
    Canvas,
    figure_bytes,
    finish,
    plain,
    set_limits,
    spread,
)
from zooalign.zoo.files import atomic_write

__all__ = ["plot_barrier", "plot_lines", "plot_simplex"]

# Of an equilateral triangle with sides of 1.
_HEIGHT = 3**0.5 / 2


def plot_barrier(
    curves: Mapping[str, BarrierCurve],
    path: str | os.PathLike[str],
    *,
    ends: tuple[str, str] = ENDS,
    title: str = "",
) -> Path:
    """Draw loss and error along the line between two networks, one curve a label.

    Solid lines are the data of the curve, dashed ones its test data. The legend gives each
    curve's barrier over the line between its endpoints. Drawn without a display and without
    changing matplotlib's state. The same curves give the same file, byte for byte, in one version
    of matplotlib.

    Parameters
    ----------
    curves:
        Curves by the label to show in the legend.
    path:
        ``.svg`` or ``.png``. It appears whole or not at all; its folder must exist.
    ends:
        Names of the networks at 0 and at 1.
    title:
        Above the panels, such as the name of the data.

    Returns
    -------
    The path written.

    Raises
    ------
    MergeError
        If there is no curve, the suffix is another, matplotlib is not installed, or the file
        cannot be written.
    """
    if not curves:
        raise MergeError("there is no curve to plot.")
    panels = ["loss"]
    if any(curve.error is not None for curve in curves.values()):
        panels.append("error")

    def draw(figure: Canvas, subplots: Sequence[Axes]) -> None:
        for axes, quantity in zip(subplots, panels, strict=True):
            draw_curves(axes, curves, quantity, ends)
        if title:
            figure.suptitle(plain(title), fontsize=10)

    return _save_figure(draw, path, len(panels), (5.2 * len(panels), 4.2))


def plot_simplex(
    simplices: Mapping[str, Simplex], labels: Sequence[str], path: str | os.PathLike[str]
) -> Path:
    """Draw simplices of three networks as triangular heat maps of the error (or the loss).

    Parameters
    ----------
    simplices:
        Simplices by their title, drawn side by side on one scale of colours.
    labels:
        Of the three corners.
    path:
        ``.svg`` or ``.png``; as for :func:`plot_barrier`.

    Raises
    ------
    MergeError
        If there is none, one is not of three networks, or the file cannot be written.
    """
    if not simplices or any(len(s.weights[0]) != 3 for s in simplices.values()):
        raise MergeError("a triangle is drawn of the simplex of three networks")
    name = "error" if all(s.scores.error is not None for s in simplices.values()) else "loss"
    values = {title: getattr(s.scores, name) for title, s in simplices.items()}
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    high = max(high, low + 1e-6)

    def draw(figure: Canvas, subplots: Sequence[Axes]) -> None:
        from matplotlib.ticker import MaxNLocator

        filled = None
        for axes, (title, simplex) in zip(subplots, simplices.items(), strict=True):
            x = [b + c / 2 for _, b, c in simplex.weights]
            y = [c * _HEIGHT for _, _, c in simplex.weights]
            levels = [low + (high - low) * n / 20 for n in range(21)]
            filled = axes.tricontourf(x, y, values[title], levels=levels, cmap=HEAT)
            axes.plot(x, y, ".", color="black", markersize=2, clip_on=False)
            axes.plot([0, 1, 0.5, 0], [0, 0, _HEIGHT, 0], color="black", linewidth=0.8)
            corners = ((0, -0.06), (1, -0.06), (0.5, _HEIGHT + 0.055))
            for text, at in zip(labels, corners, strict=True):
                axes.text(*at, plain(text), ha="center", va="center", fontsize=10)
            over = simplex.barrier[name].over_line
            axes.set_title(f"{plain(title)}: {name} barrier {over:.3g}", fontsize=10)
            axes.set(aspect="equal", xlim=(-0.08, 1.08), ylim=(-0.12, _HEIGHT + 0.13))
            axes.set_axis_off()
        figure.colorbar(filled, ax=list(subplots), label=name, shrink=0.8, ticks=MaxNLocator(6))

    return _save_figure(draw, path, len(simplices), (4.2 * len(simplices) + 1.0, 4.0))


def plot_lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, Sequence[float]]]]],
    path: str | os.PathLike[str],
    *,
    x: str,
    logarithmic: bool = False,
    ticks: Mapping[float, str] | None = None,
) -> Path:
    """Lines over a number (a step of training, a width), with the spread over seeds.

    Parameters
    ----------
    panels:
        Label of the vertical axis to lines; a line is a label and its points (x, values), the
        values being of different seeds or pairs. The mean is drawn, and from least to greatest
        a band, or a bar where there are several lines.
    x:
        Label of the horizontal axis.
    logarithmic:
        The horizontal axis is.
    ticks:
        Where to put which text below the horizontal axis.
    """
    if not panels or not all(panels.values()):
        raise MergeError("there is nothing to plot.")

    def draw(_: Canvas, subplots: Sequence[Axes]) -> None:
        for axes, (quantity, lines) in zip(subplots, panels.items(), strict=True):
            if logarithmic:
                axes.set_xscale("log")
            for number, (label, points) in enumerate(lines.items()):
                at, values = [point for point, _ in points], [values for _, values in points]
                spread(axes, (number, len(lines)), at, values, plain(label))
            set_limits(axes)
            if ticks is not None:
                axes.set_xticks(list(ticks), list(ticks.values()))
                axes.minorticks_off()
            axes.set_xlabel(x)
            axes.set_ylabel(quantity)
            finish(axes, fontsize=8, ncols=2)

    return _save_figure(draw, path, len(panels), (5.4 * len(panels), 4.4))


def _save_figure(
    draw: Callable[[Canvas, Sequence[Axes]], None],
    path: str | os.PathLike[str],
    panels: int,
    size: tuple[float, float],
) -> Path:
    """Draw panels side by side on a new figure of a size in inches, and write it."""
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("svg", "png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{target.name}'.")
    content = figure_bytes(draw, panels, size, kind)
    try:
        atomic_write(target, content)
    except CheckpointError as error:
        cause = getattr(error.__cause__, "strerror", None) or error
        raise MergeError(
            f"cannot write the plot to {target}: {cause}. Check that its folder exists, is "
            "writable and has space."
        ) from error
    return target
