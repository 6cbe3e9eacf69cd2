"""Curves drawn on axes of matplotlib, for files and for notebooks."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

from zooalign.errors import MergeError

__all__ = [
    "ENDS",
    "NO_MATPLOTLIB",
    "Axes",
    "Canvas",
    "draw_curves",
    "figure_of",
    "finish",
    "line",
    "plain",
]

# Of matplotlib, which is an optional dependency without types.
Axes = Any
Canvas = Any
# Curves by label: :class:`~zooalign.merging.curve.BarrierCurve`, which draws itself by this module.
Curves = Mapping[str, Any]

# Okabe and Ito's palette, told apart in all common forms of colour blindness; markers and
# dashes carry the same information once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDS = ("the first network", "the second")
NO_MATPLOTLIB = "plots need matplotlib, which is not installed: pip install 'zooalign[plot]'"


def figure_of(curves: Curves, ax: Axes = None) -> Canvas:
    """A figure of curves by label, for notebooks; ``ax`` takes the loss alone."""
    if ax is not None:
        draw_curves(ax, curves, "loss", ENDS)
        return ax.figure
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MergeError(NO_MATPLOTLIB) from error
    panels = ["loss", *(["error"] if any(c.error is not None for c in curves.values()) else [])]
    figure: Canvas = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for axes, quantity in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        draw_curves(axes, curves, quantity, ENDS)
    # A notebook knows pyplot's figures alone, and this one needs no pyplot.
    figure._repr_png_ = functools.partial(_png, figure)
    return figure


def _png(figure: Canvas) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw_curves(axes: Axes, curves: Curves, quantity: str, ends: tuple[str, str]) -> None:
    """Draw one quantity (``loss`` or ``error``) of curves on axes of matplotlib."""
    for number, (label, curve) in enumerate(curves.items()):
        sets = [(curve.train, "-", " (train)" if curve.test else "")]
        if curve.test is not None:
            sets.append((curve.test, "--", " (test)"))
        for scores, dashes, suffix in sets:
            values = scores.quantities.get(quantity)
            if values is None:
                continue
            barrier = scores.barrier[quantity].over_line
            text = f"{plain(label)}{suffix}: barrier {barrier:.3g}".lstrip(": ")
            fill = "none" if dashes == "--" else None
            line(
                axes,
                number,
                curve.alphas,
                values,
                text,
                linestyle=dashes,
                markerfacecolor=fill,
            )
    axes.set_xlabel(f"α, from {plain(ends[0])} (0) to {plain(ends[1])} (1)")
    names = {curve.names[quantity] for curve in curves.values()}
    axes.set_ylabel(names.pop() if len(names) == 1 else quantity)
    axes.set_xlim(-0.02, 1.02)
    low, high = axes.get_ylim()
    if quantity == "error":
        axes.set_ylim(0.0, max(high, 0.05))
    elif low > 0 and low < 0.5 * high:
        axes.set_ylim(0.0, high)
    finish(axes, fontsize=9, handlelength=2.6)


def line(
    axes: Axes, number: int, x: Sequence[float], y: Sequence[float], label: str, **style: Any
) -> str:
    """Draw a line in the colour and with the marker of its number; the colour."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.6, label=label, **style)
    return colour


def finish(axes: Axes, **legend: Any) -> None:
    """Grid, spines and legend."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, **legend)


def plain(label: str) -> str:
    """The label as matplotlib shows it: no mathematics, not hidden by a leading underscore."""
    return label.lstrip("_").replace("$", "\\$")
