"""Barrier curves of a release: what they are of, their file and their picture."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.plot import plot_barrier

__all__ = ["MeasuredCurve", "barrier_summary", "curves_from_json", "curves_to_dict", "render_plot"]


@dataclass(frozen=True)
class MeasuredCurve:
    """A curve with what it is of: ``label`` for legends, references of both ends, the data."""

    label: str
    a: str
    b: str
    align: str
    data: str
    curve: BarrierCurve

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the curve's fields and ``label``, ``a``, ``b``, ``align``, ``data``."""
        own = {k: v for k, v in vars(self).items() if k != "curve"}
        return {**own, **self.curve.to_dict()}


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
        body = json.loads(text)
        found = []
        for entry in body["curves"]:
            texts = {name: entry[name] for name in ("label", "a", "b", "align", "data")}
            if not all(isinstance(value, str) for value in texts.values()):
                raise TypeError("a label or reference is not text")
            found.append(MeasuredCurve(**texts, curve=BarrierCurve.from_dict(entry)))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise MergeError(f"not a file of curves: {type(error).__name__}: {error}") from error
    return tuple(found)


def barrier_summary(curves: Sequence[MeasuredCurve]) -> list[dict[str, Any]] | None:
    """Barriers without the curves, for provenance; None without curves."""
    kept = ("label", "a", "b", "align", "data", "count", "barrier", "statistics_reset")
    return [{name: curve.to_dict()[name] for name in kept} for curve in curves] or None


def render_plot(curves: Sequence[MeasuredCurve]) -> bytes | None:
    """The picture of the curves as SVG, or None where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = plot_barrier({c.label: c.curve for c in curves}, Path(folder) / "barrier.svg")
        return path.read_bytes()
