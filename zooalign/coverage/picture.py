"""A sweep as a picture: how large the groups are, and what deriving them costs."""

from collections.abc import Sequence
from typing import Any

from zooalign.coverage.rows import Row
from zooalign.merging.style import COLOURS, figure_bytes

__all__ = ["draw"]

_BLUE, _ORANGE, *_, _BLACK = COLOURS


def draw(rows: Sequence[Row]) -> bytes:
    """An SVG of three panels over all architectures whose spec was derived.

    The same rows give the same bytes in one version of matplotlib.

    Raises
    ------
    MergeError
        If matplotlib is not installed.
    """

    def panels(_: Any, subplots: Sequence[Any]) -> None:
        for axes, panel in zip(subplots, (_order, _cost, _memory), strict=True):
            panel(axes, rows)

    return figure_bytes(panels, 3, (13.5, 4.2))


def _dots(axes: Any, rows: Sequence[Row], x: Sequence[float], y: Sequence[float]) -> None:
    verified = [row["verification"] is not None for row in rows]
    for wanted, colour, marker, size in ((False, _BLUE, "o", 7), (True, _ORANGE, "D", 9)):
        chosen = [(a, b) for a, b, v in zip(x, y, verified, strict=True) if v is wanted]
        if chosen:
            label = "run with numbers" if wanted else "derived"
            style = {"s": size, "c": colour, "marker": marker, "lw": 0, "alpha": 0.6}
            axes.scatter(*zip(*chosen, strict=True), label=label, **style)


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
        label = "as long as the export" if factor == 1 else f"{factor} times as long"
        axes.plot(ends, [factor * e for e in ends], dash, c=_BLACK, lw=0.9, label=label)
    axes.set(xscale="log", yscale="log", xlabel="seconds in torch.export")
    axes.set(ylabel="seconds after it", title="What a spec costs")
    axes.legend(loc="upper left", frameon=False)


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
