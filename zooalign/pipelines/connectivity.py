"""How models of one architecture connect, two by two and all at once."""

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from zooalign.errors import MergeError, ModelReferenceError
from zooalign.graph.lazy_state import float_state
from zooalign.matching.many import WAYS
from zooalign.merging.connectivity import Connected, Matching, connect
from zooalign.merging.evaluate import Scoring
from zooalign.merging.trajectory import trajectory_summary
from zooalign.pipelines.connectivity_page import draw, page
from zooalign.pipelines.connectivity_result import ConnectivityResult
from zooalign.progress import Progress, silent
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.layout import json_bytes
from zooalign.release.opening import open_family
from zooalign.release.provenance import noted_warnings
from zooalign.release.results import merged_fields
from zooalign.release.settings import ConnectivitySettings
from zooalign.zoo.files import new_directory

__all__ = ["checkpoints_of", "connectivity_models"]

REPORT, PAGE = "connectivity.json", "connectivity.md"
_NEEDED_BYTES = 20_000_000


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
    entries = [
        entry
        for entry in path.iterdir()
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix == ".safetensors")
    ]
    if len(entries) < 2:
        raise ModelReferenceError(
            f"'{folder}' holds {len(entries)} checkpoints, and a training has two or more: "
            "subdirectories, or .safetensors files (with --model)"
        )
    return tuple(str(entry) for entry in sorted(entries, key=lambda entry: _natural(entry.name)))


def connectivity_models(
    references: Sequence[str], settings: ConnectivitySettings, *, progress: Progress = silent
) -> ConnectivityResult:
    """Measure how models of one architecture connect, two by two and all at once.

    Parameters
    ----------
    references:
        Two models or more; with ``settings.trajectories`` directories of checkpoints
        (:func:`checkpoints_of`), as many in each.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.
    """
    start = time.perf_counter()
    matching = Matching(
        settings.method, settings.through, settings.references, settings.options, settings.seed
    )
    if len(references) < 2:
        raise MergeError("connectivity takes two models or more")
    if matching.through not in WAYS:
        raise MergeError(f"no --through {matching.through}; there are {', '.join(WAYS)}")
    checkpoints = [checkpoints_of(r) if settings.trajectories else () for r in references]
    lengths = {len(names) for names in checkpoints}
    if len(lengths) > 1:
        raise MergeError(
            f"trainings of {sorted(lengths)} checkpoints cannot be compared: give the same number "
            "of each, taken at the same steps"
        )
    with ExitStack() as stack:
        folder = None
        if settings.output is not None:
            # A directory that must not be replaced is refused now, not after hours of work.
            folder = stack.enter_context(
                new_directory(
                    settings.output,
                    needed=_NEEDED_BYTES,
                    overwrite=settings.overwrite,
                    marker=REPORT,
                    dry_run=settings.dry_run,
                )
            )
        notes = stack.enter_context(noted_warnings())
        progress("open", 0, 1)
        connected = _measured(references, checkpoints, settings, matching, progress)
        plots = () if folder is None else draw(connected, checkpoints[0], folder)
        measured, trajectories = connected.connectivity, connected.trajectories
        scored = zip(references, checkpoints, measured.ends, strict=True)
        operation = {
            "networks": [
                {"reference": reference, "checkpoints": names or None, **vars(end)}
                for reference, names, end in scored
            ],
            "method": matching.method,
            "through": measured.many.through,
            "data": settings.data,
            "trajectories": [one.to_dict() for one in trajectories] or None,
            "trajectory_summary": trajectory_summary(trajectories) if trajectories else None,
            "output": None if settings.dry_run else settings.output,
            "plots": () if settings.dry_run else plots,
            "dry_run": settings.dry_run,
            "warnings": notes(),
            "seconds": time.perf_counter() - start,
        }
        result = merged_fields(ConnectivityResult, measured.to_dict(), operation)
        if folder is not None:
            (folder / REPORT).write_bytes(json_bytes(result))
            (folder / PAGE).write_text(page(result), encoding="utf-8")
    return result


def _measured(
    references: Sequence[str],
    checkpoints: Sequence[Sequence[str]],
    settings: ConnectivitySettings,
    matching: Matching,
    progress: Progress,
) -> Connected:
    flat = [name for names in checkpoints for name in names] or list(references)
    family = open_family(flat, settings)
    if family.differing:
        raise MergeError(
            f"{family.differences}, so that they compute different functions; connectivity scores "
            "all networks in one configuration (zooalign barrier scores each in its own)"
        )
    scored = open_for(family.first, settings.data, settings.loading)
    calibrating = scored
    if settings.calibration is not None:
        calibrating = open_for(family.first, settings.calibration, settings.loading)
    states = [float_state(member.state, settings.device) for member in family.members]
    size = max(1, len(checkpoints[0]))
    loss, metric = scoring(family.first, settings.measuring)
    return connect(
        Scoring(
            family.module,
            scored,
            reset=FullBatches(calibrating) if settings.reset else None,
            loss=loss,
            metric=metric,
        ),
        family.spec,
        [states[n : n + size] for n in range(0, len(states), size)],
        calibration=calibrating,
        matching=matching,
        alphas=settings.alphas,
        steps=settings.steps,
        progress=progress,
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which ``step9`` is before ``step10``."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
