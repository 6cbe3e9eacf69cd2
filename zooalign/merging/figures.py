"""What all pictures share: colours, a figure drawn without a display, a file that appears whole."""

import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError

__all__ = ["COLOURS", "MARKERS", "plain", "save_figure"]

# Okabe and Ito's palette, told apart in all common forms of colour blindness; markers and
# dashes carry the same information once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def save_figure(
    draw: Callable[[Any], None], path: str | os.PathLike[str], size: tuple[float, float]
) -> Path:
    """Draw on a new matplotlib figure and write it as ``.svg`` or ``.png``.

    Drawn without a display and without changing matplotlib's state; the same drawing gives the
    same file, byte for byte, in one version of matplotlib.

    Parameters
    ----------
    draw:
        Called with the figure.
    path:
        It appears whole or not at all; its folder must exist.
    size:
        Width and height in inches.

    Raises
    ------
    MergeError
        If the suffix is another, matplotlib is not installed, or the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("svg", "png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{target.name}'.")
    _write(target, _render(draw, kind, size))
    return target


def plain(label: str) -> str:
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
