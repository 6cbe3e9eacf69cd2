"""The style of every picture: colours, markers, ranges, limits, and how a figure becomes a file."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from zooalign.errors import MergeError

__all__ = [
    "COLOURS",
    "DASHES",
    "HEAT",
    "NO_MATPLOTLIB",
    "Axes",
    "Canvas",
    "figure_bytes",
    "finish",
    "line",
    "plain",
    "set_limits",
    "spread",
]

# Of matplotlib, which is an optional dependency without types.
Axes = Any
Canvas = Any

# Okabe and Ito's palette, told apart in all common forms of colour blindness; markers and
# dashes carry the same information once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)))
# A scale of colours that is read alike with and without colour blindness, from light (low).
HEAT = "cividis_r"
NO_MATPLOTLIB = "plots need matplotlib, which is not installed: pip install 'zooalign[plot]'"

# Bands of more lines than this hide each other.
_MOST_BANDS = 2
# What an axis that does not start at zero shows at least, as a share of the greatest value: half a
# point of error is then no mountain.
_LEAST_SHARE = 0.5
# How far the bars of two lines stand apart, as a share of the axis.
_ASIDE = 0.009


def line(
    axes: Axes, number: int, x: Sequence[float], y: Sequence[float], label: str, **style: Any
) -> str:
    """Draw a line in the colour and with the marker of its number; the colour."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    # Markers at the edge of the axes are drawn whole.
    style = {"markersize": 4.5, "linewidth": 1.6, "clip_on": False, "zorder": 3} | style
    axes.plot(x, y, color=colour, marker=marker, label=label, **style)
    return colour


def spread(
    axes: Axes, place: tuple[int, int], x: Sequence[float], y: Sequence[Sequence[float]], label: str
) -> None:
    """Draw the means of values as a line, with their range from least to greatest.

    ``place`` is the number of the line, and of how many: the ranges of a few are bands, those of
    many are bars side by side. A logarithmic axis is made one before.
    """
    number, count = place
    at, means = list(x), [sum(values) / len(values) for values in y]
    least, most = [min(values) for values in y], [max(values) for values in y]
    bands = count <= _MOST_BANDS
    if not bands and least != most:
        at = _aside(axes, at, number - (count - 1) / 2)
    colour = line(axes, number, at, means, label, linestyle=DASHES[number % len(DASHES)])
    if bands:
        axes.fill_between(at, least, most, color=colour, alpha=0.15, linewidth=0)
    elif least != most:
        below = [mean - low for mean, low in zip(means, least, strict=True)]
        above = [high - mean for mean, high in zip(means, most, strict=True)]
        bars = {"elinewidth": 1.0, "capsize": 2, "alpha": 0.65, "zorder": 2}
        axes.errorbar(at, means, yerr=[below, above], fmt="none", ecolor=colour, **bars)


def _aside(axes: Axes, x: Sequence[float], steps: float) -> list[float]:
    """Places moved by a little, so that bars of several lines stand side by side."""
    if axes.get_xscale() == "log":
        factor = (x[-1] / x[0]) ** (_ASIDE * steps)
        return [place * factor for place in x]
    return [place + _ASIDE * steps * (x[-1] - x[0]) for place in x]


def set_limits(axes: Axes, *, least: float = 0.0, zero: bool = False) -> None:
    """Let the vertical axis start at zero, or else show a fair share of the greatest value.

    It starts at zero with ``zero``, and where values come near it; ``least`` is the least height
    that it shows. Axes with values below zero stay as they are.
    """
    low, high = axes.dataLim.intervaly
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0:
        return
    if zero or low <= 0.5 * high:
        axes.set_ylim(0.0, max(1.05 * high, least) or 1.0)
        return
    shown = max(high - low, _LEAST_SHARE * high, least)
    axes.set_ylim(high - 1.05 * shown, high + 0.05 * shown)


def finish(axes: Axes, **legend: Any) -> None:
    """Grid, spines and legend."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = {"handlelength": 3.2} | legend
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02), frameon=False, **legend)


def plain(label: str) -> str:
    """The label as matplotlib shows it: no mathematics, not hidden by a leading underscore."""
    return label.lstrip("_").replace("$", "\\$")


def figure_bytes(
    draw: Callable[[Canvas, Sequence[Axes]], None],
    panels: int,
    size: tuple[float, float],
    kind: str = "svg",
) -> bytes:
    """A picture of panels side by side as the bytes of an ``svg`` or ``png`` file.

    Drawn without a display and whatever the user's style is; the same drawing gives the same bytes
    in one version of matplotlib. ``draw`` gets the figure and its axes; ``size`` is in inches.

    Raises
    ------
    MergeError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MergeError(NO_MATPLOTLIB) from error
    style = {"svg.hashsalt": "zooalign", "font.family": "DejaVu Sans", "font.size": 10}
    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, figure.subplots(1, panels, squeeze=False)[0])
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()
