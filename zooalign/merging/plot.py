"""Barrier curves, simplices of three networks and lines over seeds, as pictures."""

import io
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.curve import BarrierCurve, Scores, excess
from zooalign.merging.simplex import Simplex

__all__ = ["plot_barrier", "plot_lines", "plot_simplex"]

# Okabe and Ito's palette, told apart in all common forms of colour blindness; markers and
# dashes carry the same information once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Of an equilateral triangle with sides of 1.
_HEIGHT = 3**0.5 / 2


def plot_barrier(curves: Mapping[str, BarrierCurve], path: str | os.PathLike[str]) -> Path:
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
    if any(curve.train.error is not None for curve in curves.values()):
        panels.append("error")

    def draw(figure: Any) -> None:
        subplots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, quantity in zip(subplots, panels, strict=True):
            _draw(axes, curves, quantity)

    return _save_figure(draw, path, (5.2 * len(panels), 4.2))


def _draw(axes: Any, curves: Mapping[str, BarrierCurve], quantity: str) -> None:
    for index, (label, curve) in enumerate(curves.items()):
        both = curve.test is not None
        for scores, dashes, suffix in (
            (curve.train, "-", " (train)" if both else ""),
            (curve.test, "--", " (test)"),
        ):
            values = _values(scores, quantity)
            if values is None:
                continue
            barrier = excess(curve.alphas, values).over_line
            axes.plot(
                curve.alphas,
                values,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle=dashes,
                markersize=4,
                markerfacecolor="none" if dashes == "--" else None,
                linewidth=1.6,
                label=f"{_plain(label)}{suffix}: barrier {barrier:.3g}",
            )
    axes.set_xlabel("α, from the first network (0) to the second (1)")
    axes.set_ylabel(quantity)
    axes.set_xlim(-0.02, 1.02)
    low, high = axes.get_ylim()
    if quantity == "error":
        axes.set_ylim(0.0, max(high, 0.05))
    elif low > 0 and low < 0.5 * high:
        axes.set_ylim(0.0, high)
    _finish(axes, fontsize=9, handlelength=2.6)


def _values(scores: Scores | None, quantity: str) -> tuple[float, ...] | None:
    if scores is None:
        return None
    return scores.loss if quantity == "loss" else scores.error


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

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        subplots = figure.subplots(1, len(simplices), squeeze=False)[0]
        filled = None
        for axes, (title, simplex) in zip(subplots, simplices.items(), strict=True):
            x = [b + c / 2 for _, b, c in simplex.weights]
            y = [c * _HEIGHT for _, _, c in simplex.weights]
            levels = [low + (high - low) * n / 20 for n in range(21)]
            filled = axes.tricontourf(x, y, values[title], levels=levels, cmap="viridis_r")
            axes.plot(x, y, ".", color="black", markersize=2, clip_on=False)
            axes.plot([0, 1, 0.5, 0], [0, 0, _HEIGHT, 0], color="black", linewidth=0.8)
            corners = ((0, -0.05), (1, -0.05), (0.5, _HEIGHT + 0.04))
            for text, at in zip(labels, corners, strict=True):
                axes.text(*at, _plain(text), ha="center", va="center", fontsize=9)
            over = simplex.barrier[name].over_line
            axes.set_title(f"{_plain(title)}: {name} barrier {over:.3g}", fontsize=10, pad=18)
            axes.set_aspect("equal")
            axes.set_axis_off()
        figure.colorbar(filled, ax=list(subplots), label=name, shrink=0.8, ticks=MaxNLocator(6))

    return _save_figure(draw, path, (4.2 * len(simplices) + 1.0, 4.0))


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
                    at,
                    means,
                    color=colour,
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=4,
                    linewidth=1.6,
                    label=_plain(label),
                )
                least, most = ([f(values) for _, values in points] for f in (min, max))
                axes.fill_between(at, least, most, color=colour, alpha=0.15, linewidth=0)
            if logarithmic:
                axes.set_xscale("log")
            if ticks is not None:
                axes.set_xticks(list(ticks), list(ticks.values()))
                axes.minorticks_off()
            axes.set_xlabel(x)
            axes.set_ylabel(quantity)
            _finish(axes, fontsize=8, ncols=2)

    if not panels or not all(panels.values()):
        raise MergeError("there is nothing to plot.")
    return _save_figure(draw, path, (5.4 * len(panels), 4.4))


def _finish(axes: Any, **legend: Any) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, **legend)


def _save_figure(
    draw: Callable[[Any], None], path: str | os.PathLike[str], size: tuple[float, float]
) -> Path:
    """Draw on a new matplotlib figure and write it as ``.svg`` or ``.png``.

    Drawn without a display and without changing matplotlib's state; the same drawing gives the
    same file, byte for byte, in one version of matplotlib. ``size`` is in inches.
    """
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("svg", "png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{target.name}'.")
    _write(target, _render(draw, kind, size))
    return target


def _plain(label: str) -> str:
    """The label as matplotlib shows it: no mathematics, not hidden by a leading underscore."""
    return label.lstrip("_").replace("$", "\\$")


def _render(draw: Callable[[Any], None], kind: str, size: tuple[float, float]) -> bytes:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MergeError(
            "plots need matplotlib, which is not installed: pip install 'zooalign[plot]'"
        ) from error
    style = {"svg.hashsalt": "zooalign", "font.family": "DejaVu Sans", "font.size": 10}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's style is, the same file
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise MergeError(
            f"cannot write the plot to {path}: {error.strerror or error}. Check that its folder "
            "exists, is writable and has space."
        ) from error
    finally:
        aside.unlink(missing_ok=True)
