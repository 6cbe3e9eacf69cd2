"""A sweep as a picture: how large the groups are, and what deriving them costs."""

import io
from collections.abc import Sequence
from typing import Any

from zooalign.coverage.rows import Row
from zooalign.errors import DataError

__all__ = ["draw"]

# Of Okabe and Ito's palette, told apart in all common forms of colour blindness.
_BLUE, _ORANGE, _BLACK = "#0072B2", "#D55E00", "#000000"


def draw(rows: Sequence[Row]) -> bytes:
    """An SVG of three panels over all architectures whose spec was derived.

    The same rows give the same bytes in one version of matplotlib.

    Raises
    ------
    DataError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError(
            "the picture needs matplotlib, which is not installed: pip install 'zooalign[plot]'"
        ) from error
    style = {"svg.hashsalt": "zooalign", "font.family": "DejaVu Sans", "font.size": 10}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's style is, the same file
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(13.5, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        order, cost, memory = figure.subplots(1, 3)
        _order(order, rows)
        _cost(cost, rows)
        _memory(memory, rows)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _dots(axes: Any, rows: Sequence[Row], x: Sequence[float], y: Sequence[float]) -> None:
    verified = [row["verification"] is not None for row in rows]
    for wanted, colour, size in ((False, _BLUE, 6), (True, _ORANGE, 12)):
        chosen = [(a, b) for a, b, v in zip(x, y, verified, strict=True) if v is wanted]
        if chosen:
            label = "run with numbers" if wanted else "derived"
            axes.scatter(*zip(*chosen, strict=True), s=size, c=colour, lw=0, alpha=0.7, label=label)


def _order(axes: Any, rows: Sequence[Row]) -> None:
    drawn = [row for row in rows if row["parameters"] and row["log10_order"]]
    if not drawn:
        return
    parameters = [row["parameters"] or 0 for row in drawn]
    _dots(axes, drawn, parameters, [row["log10_order"] or 0.0 for row in drawn])
    axes.set(xscale="log", yscale="log", xlabel="parameters", title="How many permutations")
    axes.set_ylabel("log10 of the order of the group")
    axes.legend(loc="upper left", frameon=False)


def _cost(axes: Any, rows: Sequence[Row]) -> None:
    drawn = [row for row in rows if row["seconds"]["export"] > 0]
    if not drawn:
        return
    export = [row["seconds"]["export"] for row in drawn]
    _dots(axes, drawn, export, [row["seconds"]["after_export"] for row in drawn])
    ends = [min(export), max(export)]
    for factor, dash in ((1, "-"), (3, "--")):
        axes.plot(ends, [factor * e for e in ends], dash, c=_BLACK, lw=0.8)
        place = {"xytext": (-4, -4), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(f"{factor} times", (ends[1], factor * ends[1]), **place)
    axes.set(xscale="log", yscale="log", xlabel="seconds in torch.export")
    axes.set(ylabel="seconds after it", title="What a spec costs")


def _memory(axes: Any, rows: Sequence[Row]) -> None:
    drawn = [row for row in rows if row["parameters"] and row["peak_bytes"]]
    if not drawn:
        return
    parameters = [row["parameters"] or 0 for row in drawn]
    gigabytes = [(row["peak_bytes"] or 0) / 1e9 for row in drawn]
    _dots(axes, drawn, parameters, gigabytes)
    parameters.sort()
    weights = [4 * count / 1e9 for count in parameters]
    axes.plot(parameters, weights, c=_BLACK, lw=0.8, label="its weights")
    axes.set(xscale="log", xlabel="parameters", ylabel="peak memory, GB", title="What it takes")
    axes.set_ylim(0, 1.25 * max(gigabytes))
    axes.legend(loc="upper left", frameon=False)
