"""Barrier curves of a release: what they are of, their file and their picture."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from zooalign.errors import MergeError
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.plot import plot_barrier
from zooalign.release.provenance import BarrierSummary

__all__ = [
    "CurvesFile",
    "MeasuredCurve",
    "barrier_summary",
    "curves_from_json",
    "curves_to_dict",
    "render_plot",
]


@dataclass(frozen=True, kw_only=True)
class _Ends:
    label: str
    a: str
    b: str
    align: str
    data: str


@dataclass(frozen=True, kw_only=True)
class MeasuredCurve(BarrierCurve, _Ends):
    """A curve with what it is of: ``label`` for legends, references of both ends, the data.

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


def curves_from_json(text: str) -> tuple[MeasuredCurve, ...]:
    """Read what :func:`curves_to_dict` gave; the file may come from anybody.

    Raises
    ------
    MergeError
        If it is malformed.
    """
    try:
        return msgspec.json.decode(text, type=CurvesFile).curves
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MergeError(f"not a file of curves: {error}") from error


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
        path = plot_barrier({curve.label: curve for curve in curves}, Path(folder) / "barrier.svg")
        return path.read_bytes()
