"""Barrier curves as a picture."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.curve import BarrierCurve, Scores, excess
from zooalign.merging.figures import COLOURS, MARKERS, plain, save_figure

__all__ = ["plot_barrier"]


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

    return save_figure(draw, path, (5.2 * len(panels), 4.2))


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
                label=f"{plain(label)}{suffix}: barrier {barrier:.3g}",
            )
    axes.set_xlabel("α, from the first network (0) to the second (1)")
    axes.set_ylabel(quantity)
    axes.set_xlim(-0.02, 1.02)
    low, high = axes.get_ylim()
    if quantity == "error":
        axes.set_ylim(0.0, max(high, 0.05))
    elif low > 0 and low < 0.5 * high:
        axes.set_ylim(0.0, high)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9, handlelength=2.6
    )


def _values(scores: Scores | None, quantity: str) -> tuple[float, ...] | None:
    if scores is None:
        return None
    return scores.loss if quantity == "loss" else scores.error
