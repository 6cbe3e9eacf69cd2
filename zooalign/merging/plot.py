"""Barrier curves as a picture."""

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.curve import BarrierCurve, Scores, excess

__all__ = ["plot_barrier"]

# Okabe and Ito's palette, told apart in all common forms of colour blindness; markers and
# dashes carry the same information once more.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def plot_barrier(curves: Mapping[str, BarrierCurve], path: str | os.PathLike[str]) -> Path:
    """Draw loss and error along the line between two networks, one curve a label.

    Solid lines are the data of the curve, dashed ones its test data. The legend gives each
    curve's barrier over the line between its endpoints. Drawn without a display and without
    changing matplotlib's state. The same curves give the same file, byte for byte, in one version of
    matplotlib.

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
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("svg", "png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{target.name}'.")
    if not curves:
        raise MergeError("there is no curve to plot.")
    _write(target, _render(curves, kind))
    return target


def _render(curves: Mapping[str, BarrierCurve], kind: str) -> bytes:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MergeError(
            "plots need matplotlib, which is not installed: pip install 'zooalign[plot]'"
        ) from error
    panels = ["loss"]
    if any(curve.train.error is not None for curve in curves.values()):
        panels.append("error")
    style = {"svg.hashsalt": "zooalign", "font.family": "DejaVu Sans", "font.size": 10}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's style is, the same file
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, quantity in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            _draw(axes, curves, quantity)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


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
                color=_COLOURS[index % len(_COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
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


def _plain(label: str) -> str:
    """The label as matplotlib shows it: no mathematics, not hidden by a leading underscore."""
    return label.lstrip("_").replace("$", "\\$")


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
