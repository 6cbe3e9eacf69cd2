"""Barriers between referenced models, as they are or after alignment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import MergeError
from zooalign.graph.lazy_state import float_state
from zooalign.merging.barrier import barrier
from zooalign.merging.curve import BarrierCurve
from zooalign.merging.plot import plot_barrier
from zooalign.merging.statistics import has_running_statistics
from zooalign.pipelines.matching import Aligned, align_members, diagnosis_to_dict
from zooalign.progress import Progress, silent, stage
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.curves import MeasuredCurve
from zooalign.release.opening import Family, open_family
from zooalign.release.settings import Loading
from zooalign.symmetry import Permuted

__all__ = ["BarrierReport", "barrier_models", "measure"]


@dataclass(frozen=True)
class BarrierReport:
    """What ``zooalign barrier`` measured."""

    measured: MeasuredCurve
    aligned: Aligned | None
    plot: str | None

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        body = self.measured.to_dict()
        del body["label"]
        found = self.aligned
        return {
            **body,
            "moved_fraction": None if found is None else found.record("").moved_fraction,
            "diagnosis": None
            if found is None
            else diagnosis_to_dict(found.diagnosis, found.outcome),
            "plot": self.plot,
        }


def barrier_models(
    a: str,
    b: str,
    *,
    data: str,
    test: str | None = None,
    calibration: str | None = None,
    align: str = "none",
    model: str | None = None,
    reset: bool = True,
    alphas: int = 25,
    plot: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    loading: Loading | None = None,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> BarrierReport:
    """Measure loss and error on the line from ``a`` to ``b``.

    Parameters
    ----------
    data, test:
        Data to score on, with targets.
    calibration:
        Data to match on and to reset statistics on; default is ``data``.
    align:
        ``none`` to measure them as they are, or a matching method.
    reset:
        Recompute running statistics, where there are any, strictly between the endpoints.
    plot:
        An ``.svg`` or ``.png`` file to write.
    """
    loading = loading or Loading()
    if plot is not None:
        _require_plottable(Path(plot))
    family = open_family([a, b], model=model, allow_pickle=allow_pickle)
    scored = open_for(family.first, data, loading)
    tested = None if test is None else open_for(family.first, test, loading)
    calibrating = scored if calibration is None else open_for(family.first, calibration, loading)
    aligned = None
    if align != "none":
        (aligned,) = align_members(
            family,
            method=align,
            batches=calibrating,
            seed=seed,
            device=device,
            progress=progress,
        )
    state: Mapping[str, Tensor] = family.members[1].state
    if aligned is not None:
        state = Permuted(family.spec, aligned.permutation, state)
    curve = measure(
        family,
        state,
        scored,
        test=tested,
        reset=FullBatches(calibrating) if reset else None,
        alphas=alphas,
        device=device,
        progress=progress,
    )
    label = "as they are" if align == "none" else f"{align} matching"
    measured = MeasuredCurve(
        label, family.members[0].reference, family.members[1].reference, align, data, curve
    )
    if plot is not None:
        plot_barrier({label: curve}, plot)
    return BarrierReport(measured, aligned, plot)


def measure(
    family: Family,
    state: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    test: Iterable[Any] | None = None,
    reset: Iterable[Any] | None,
    alphas: int,
    device: str,
    progress: Progress,
) -> BarrierCurve:
    """The curve from the family's first member to ``state``, already aligned to it."""
    needed = reset is not None and has_running_statistics(family.module)
    loss, metric = scoring(family.first)
    return barrier(
        family.module,
        float_state(family.members[0].state, device),
        float_state(state, device),
        data,
        test=test,
        alphas=alphas,
        reset=reset if needed else None,
        loss=loss,
        metric=metric,
        progress=stage(progress, "barrier"),
    )


def _require_plottable(path: Path) -> None:
    """Minutes of work should not end at a wrong name."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{path.name}'.")
    if not path.parent.is_dir():
        raise MergeError(f"the folder of the plot, {path.parent}, does not exist")
