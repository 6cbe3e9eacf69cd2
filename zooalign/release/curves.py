"""Barrier curves of a release: what they are of, their file and their picture."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from zooalign.errors import MergeError, SpecError
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.plot import plot_barrier
from zooalign.release.layout import BARRIER
from zooalign.release.provenance import BarrierSummary, CurveOrigin

__all__ = [
    "CurvesFile",
    "MeasuredCurve",
    "barrier_summary",
    "curves_from_json",
    "curves_to_dict",
    "plot_curves",
    "render_plot",
]


# Characters of a model's or data set's name in a picture.
_NAME = 40


@dataclass(frozen=True, kw_only=True, repr=False)
class MeasuredCurve(BarrierCurve, CurveOrigin):
    """A curve with what it is of.

    Of a curve: ``MeasuredCurve(label=..., a=..., b=..., align=..., data=..., **vars(curve))``.
    """


@dataclass(frozen=True)
class CurvesFile:
    """The content of ``zooalign/barrier.json``."""

    version: Literal[1]
    curves: tuple[MeasuredCurve, ...]


def curves_to_dict(curves: Sequence[MeasuredCurve]) -> dict[str, Any]:
    """The content of ``zooalign/barrier.json``."""
    return {"version": 1, "curves": [curve.to_dict() for curve in curves]}


def curves_from_json(text: str | None) -> tuple[MeasuredCurve, ...]:
    """Read what :func:`curves_to_dict` gave, None being no file; it may come from anybody.

    Raises
    ------
    SpecError
        If it is malformed.
    """
    if text is None:
        return ()
    try:
        return msgspec.json.decode(text, type=CurvesFile).curves
    except (MergeError, ValueError, RecursionError) as error:
        raise SpecError(f"{BARRIER} is malformed: not a file of curves: {error}") from error


def barrier_summary(curves: Sequence[MeasuredCurve]) -> tuple[BarrierSummary, ...] | None:
    """Barriers without the curves, for provenance; None without curves."""
    return tuple(msgspec.convert(c.to_dict(), BarrierSummary) for c in curves) or None


def render_plot(curves: Sequence[MeasuredCurve]) -> bytes | None:
    """The picture of the curves as SVG, or None where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return plot_curves(curves, Path(folder) / "barrier.svg").read_bytes()


def plot_curves(curves: Sequence[MeasuredCurve], path: str | os.PathLike[str]) -> Path:
    """Draw curves in one picture, with the names of their networks and data."""
    first = curves[0]
    several = len({curve.b for curve in curves}) > 1
    ends = _short(first.a), "the other" if several else _short(first.b)
    drawn = {curve.label: curve for curve in curves}
    return plot_barrier(drawn, path, ends=ends, title=f"on {_short(first.data)}")


def _short(reference: str) -> str:
    """The end of a long path or reference."""
    name = reference.rstrip("/")
    name = name.rpartition("/")[2] if name.startswith((".", "/")) else name
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
