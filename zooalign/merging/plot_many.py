"""The simplex of three networks, and barriers over steps of training, as pictures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.figures import COLOURS, MARKERS, plain, save_figure
from zooalign.merging.simplex import Simplex

__all__ = ["plot_lines", "plot_simplex"]

_HEIGHT = 3**0.5 / 2


def plot_simplex(
    found: Mapping[str, Simplex], labels: Sequence[str], path: str | os.PathLike[str]
) -> Path:
    """Draw simplices of three networks as triangular heat maps of the error (or the loss).

    Parameters
    ----------
    found:
        Simplices by their title, drawn side by side on one scale of colours.
    labels:
        Of the three corners.
    path:
        ``.svg`` or ``.png``; as for :func:`~zooalign.merging.figures.save_figure`.

    Raises
    ------
    MergeError
        If there is none, one is not of three networks, or the file cannot be written.
    """
    if not found or any(len(s.weights[0]) != 3 for s in found.values()):
        raise MergeError("a triangle is drawn of the simplex of three networks")
    name = "error" if all(s.scores.error is not None for s in found.values()) else "loss"
    values = {title: getattr(s.scores, name) for title, s in found.items()}
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    high = max(high, low + 1e-6)

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        subplots = figure.subplots(1, len(found), squeeze=False)[0]
        filled = None
        for axes, (title, own) in zip(subplots, found.items(), strict=True):
            x = [b + c / 2 for _, b, c in own.weights]
            y = [c * _HEIGHT for _, _, c in own.weights]
            levels = [low + (high - low) * n / 20 for n in range(21)]
            filled = axes.tricontourf(x, y, values[title], levels=levels, cmap="viridis_r")
            axes.plot(x, y, ".", color="black", markersize=2, clip_on=False)
            axes.plot([0, 1, 0.5, 0], [0, 0, _HEIGHT, 0], color="black", linewidth=0.8)
            corners = ((0, -0.05), (1, -0.05), (0.5, _HEIGHT + 0.04))
            for text, at in zip(labels, corners, strict=True):
                axes.text(*at, plain(text), ha="center", va="center", fontsize=9)
            over = own.barrier[name].over_line
            axes.set_title(f"{plain(title)}: {name} barrier {over:.3g}", fontsize=10, pad=18)
            axes.set_aspect("equal")
            axes.set_axis_off()
        figure.colorbar(filled, ax=list(subplots), label=name, shrink=0.8, ticks=MaxNLocator(6))

    return save_figure(draw, path, (4.2 * len(found) + 1.0, 4.0))


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
        a band.
    x:
        Label of the horizontal axis.
    logarithmic:
        The horizontal axis is.
    ticks:
        Where to put which text below the horizontal axis.
    """

    def draw(figure: Any) -> None:
        subplots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (quantity, lines) in zip(subplots, panels.items(), strict=True):
            for number, (label, points) in enumerate(lines.items()):
                colour = COLOURS[number % len(COLOURS)]
                at = [point for point, _ in points]
                means = [sum(values) / len(values) for _, values in points]
                axes.plot(
                    at, means, color=colour, marker=MARKERS[number % len(MARKERS)],
                    markersize=4, linewidth=1.6, label=plain(label),
                )  # fmt: skip
                least, most = ([f(values) for _, values in points] for f in (min, max))
                axes.fill_between(at, least, most, color=colour, alpha=0.15, linewidth=0)
            if logarithmic:
                axes.set_xscale("log")
            if ticks is not None:
                axes.set_xticks(list(ticks), list(ticks.values()))
                axes.minorticks_off()
            axes.set_xlabel(x)
            axes.set_ylabel(quantity)
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8, ncols=2
            )

    if not panels or not all(panels.values()):
        raise MergeError("there is nothing to plot.")
    return save_figure(draw, path, (5.4 * len(panels), 4.4))
