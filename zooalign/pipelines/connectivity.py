"""``zooalign connectivity``: a set of referenced models, or of trainings, and how they connect."""

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.errors import MergeError, ModelReferenceError
from zooalign.matching.many import WAYS
from zooalign.merging.connecting import Connected, Matching, connect
from zooalign.merging.trajectory import trajectory_summary
from zooalign.pipelines.connectivity_page import draw, page
from zooalign.pipelines.matching import runnable
from zooalign.progress import Progress, silent
from zooalign.release.calibration import FullBatches, Loading, open_for, scoring
from zooalign.release.layout import json_bytes
from zooalign.release.notes import noted_warnings
from zooalign.release.opening import open_family
from zooalign.zoo.files import new_directory

__all__ = ["PAGE", "REPORT", "ConnectivityReport", "checkpoints_of", "connectivity_models"]

REPORT, PAGE = "connectivity.json", "connectivity.md"
_NEEDED_BYTES = 20_000_000


@dataclass(frozen=True)
class ConnectivityReport:
    """What ``zooalign connectivity`` measured.

    ``references`` names every network, ``checkpoints`` those of each (empty without trajectories).
    """

    references: tuple[str, ...]
    checkpoints: tuple[tuple[str, ...], ...]
    matching: Matching
    data: str
    found: Connected
    output: str | None
    plots: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        measured = self.found.connectivity
        body = measured.to_dict()
        ends = body.pop("ends")
        return {
            "networks": [
                {"reference": reference, "checkpoints": list(own) or None, **end}
                for reference, own, end in zip(self.references, self.checkpoints, ends, strict=True)
            ],
            "method": self.matching.method,
            "through": measured.many.through,
            "data": self.data,
            **body,
            "trajectories": [one.to_dict() for one in self.found.trajectories] or None,
            "trajectory_summary": self._along(),
            "output": self.output,
            "plots": list(self.plots),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    def _along(self) -> dict[str, Any] | None:
        if not self.found.trajectories:
            return None
        return {
            which: [
                {q: {n: dict(vars(s)) for n, s in own.items()} for q, own in step.items()}
                for step in steps
            ]
            for which, steps in trajectory_summary(self.found.trajectories).items()
        }


def checkpoints_of(folder: str) -> tuple[str, ...]:
    """The checkpoints of a training: subfolders and ``.safetensors`` files, numbers in order.

    Raises
    ------
    ModelReferenceError
        If the folder is not there or holds less than two.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ModelReferenceError(
            f"'{folder}' is not a directory: a training is a directory with one subdirectory or "
            ".safetensors file a checkpoint"
        )
    found = [
        entry
        for entry in path.iterdir()
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix == ".safetensors")
    ]
    if len(found) < 2:
        raise ModelReferenceError(
            f"'{folder}' holds {len(found)} checkpoints, and a training has two or more: "
            "subdirectories, or .safetensors files (with --model)"
        )
    return tuple(str(entry) for entry in sorted(found, key=lambda entry: _natural(entry.name)))


def connectivity_models(
    references: Sequence[str],
    *,
    data: str,
    calibration: str | None = None,
    trajectories: bool = False,
    matching: Matching | None = None,
    model: str | None = None,
    reset: bool = True,
    alphas: int = 25,
    steps: int = 6,
    output: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "cpu",
    loading: Loading | None = None,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> ConnectivityReport:
    """Measure how models of one architecture connect, two by two and all at once.

    Parameters
    ----------
    references:
        Two models or more; with ``trajectories`` directories of checkpoints
        (:func:`checkpoints_of`), as many in each.
    data:
        Data to score on, with targets.
    calibration:
        Data to match on and to reset statistics on; default is ``data``.
    alphas, steps:
        Points of a curve, and along an edge of the simplex less one.
    output:
        A directory to write, with the report as JSON and as a page of tables, and the pictures.

    Other parameters are those of :func:`zooalign.pipelines.barrier.barrier_models`.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.
    """
    start = time.perf_counter()
    matching, loading = matching or Matching(), loading or Loading()
    if len(references) < 2:
        raise MergeError("connectivity is of two models or more")
    if matching.through not in WAYS:
        raise MergeError(f"no way '{matching.through}'; there are {', '.join(WAYS)}")
    checkpoints = [checkpoints_of(r) if trajectories else () for r in references]
    lengths = {len(own) for own in checkpoints}
    if len(lengths) > 1:
        raise MergeError(
            f"trainings of {sorted(lengths)} checkpoints cannot be compared: give as many of each, "
            "taken at the same steps"
        )
    with ExitStack() as stack:
        folder = None
        if output is not None:
            # Before hours of work: a directory that must not be replaced is refused at once.
            folder = stack.enter_context(
                new_directory(output, needed=_NEEDED_BYTES, overwrite=overwrite, marker=REPORT)
            )
        notes = stack.enter_context(noted_warnings())
        progress("open", 0, 1)
        flat = [name for own in checkpoints for name in own] or list(references)
        family = open_family(flat, model=model, allow_pickle=allow_pickle)
        scored = open_for(family.first, data, loading)
        calibrating = (
            scored if calibration is None else open_for(family.first, calibration, loading)
        )
        states = [runnable(member.state, device) for member in family.members]
        size = max(1, len(checkpoints[0]))
        loss, metric = scoring(family.first)
        found = connect(
            family.module,
            family.spec,
            [states[n : n + size] for n in range(0, len(states), size)],
            scored,
            calibration=calibrating,
            reset=FullBatches(calibrating) if reset else None,
            matching=matching,
            alphas=alphas,
            steps=steps,
            seed=seed,
            loss=loss,
            metric=metric,
            progress=progress,
        )
        plots = () if folder is None else draw(found, checkpoints[0], folder)
        report = ConnectivityReport(
            tuple(references), tuple(checkpoints), matching, data, found, output, plots, notes(),
            time.perf_counter() - start,
        )  # fmt: skip
        if folder is not None:
            body = report.to_dict()
            (folder / REPORT).write_bytes(json_bytes(body))
            (folder / PAGE).write_text(page(body), encoding="utf-8")
    return report


def _natural(name: str) -> list[tuple[int, int, str]]:
    """``step9`` before ``step10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _parts(name)]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
