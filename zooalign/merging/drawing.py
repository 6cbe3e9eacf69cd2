"""Curves drawn on axes of matplotlib, for files and for notebooks."""

import functools
import io
from collections.abc import Mapping
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.style import (
    NO_MATPLOTLIB,
    Axes,
    Canvas,
    finish,
    line,
    plain,
    set_limits,
)

__all__ = ["ENDS", "draw_curves", "figure_of"]

# Curves by label: :class:`~zooalign.merging.curve.BarrierCurve`, which draws itself by this module.
Curves = Mapping[str, Any]

ENDS = ("the first network", "the second")


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
    set_limits(axes, least=0.05 if quantity == "error" else 0.0, zero=quantity == "error")
    finish(axes, fontsize=9)
