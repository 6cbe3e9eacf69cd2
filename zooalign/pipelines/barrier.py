"""Barriers between referenced models, as they are or after alignment."""

from collections.abc import Iterable, Mapping, Sequence
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
from zooalign.pipelines.matching import Aligned, OpenedInputs, align_members, diagnosis_to_dict
from zooalign.progress import Progress, silent, stage
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.curves import MeasuredCurve
from zooalign.release.opening import Family, open_family
from zooalign.release.results import Report, merged_fields
from zooalign.release.settings import AlignSettings, BarrierSettings
from zooalign.symmetry import Permuted

__all__ = ["BarrierReport", "BarrierResult", "barrier_models", "measure_aligned"]


@dataclass(frozen=True, kw_only=True)
class _Models:
    a: str
    b: str
    align: str
    data: str


@dataclass(frozen=True, kw_only=True)
class BarrierResult(BarrierCurve, _Models):
    """The JSON of ``zooalign barrier`` (``docs/cli.md``): a curve and what it is of."""

    moved_fraction: float | None
    diagnosis: Mapping[str, Any] | None
    plot: str | None


@dataclass(frozen=True)
class BarrierReport(Report):
    """What ``zooalign barrier`` measured."""

    measured: MeasuredCurve
    aligned: Aligned | None
    plot: str | None

    @property
    def result(self) -> BarrierResult:
        """The JSON as a typed value."""
        moved, diagnosis = None, None
        if self.aligned is not None:
            moved = self.aligned.permutation.moved_fraction
            diagnosis = diagnosis_to_dict(self.aligned.diagnosis, self.aligned.outcome)
        alignment = {"moved_fraction": moved, "diagnosis": diagnosis, "plot": self.plot}
        return merged_fields(BarrierResult, self.measured.to_dict(), alignment)


def barrier_models(
    a: str, b: str, settings: BarrierSettings, *, progress: Progress = silent
) -> BarrierReport:
    """Measure loss and error on the line from ``a`` to ``b``.

    With ``settings.reset`` running statistics, where there are any, are recomputed strictly
    between the endpoints.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit.
    """
    if settings.plot is not None:
        _require_plottable(Path(settings.plot))
    family = open_family([a, b], settings)
    scored, tested, calibration = (
        None if text is None else open_for(family.first, text, settings.loading)
        for text in (settings.data, settings.test, settings.calibration)
    )
    assert scored is not None
    calibration = calibration or scored
    aligned = None
    state: Mapping[str, Tensor] = family.members[1].state
    if settings.align != "none":
        matching = AlignSettings(method=settings.align, seed=settings.seed, device=settings.device)
        (aligned,) = align_members(family, matching, calibration, progress)
        state = Permuted(family.spec, aligned.permutation, state)
    curve = _measure(
        family,
        state,
        scored,
        settings,
        progress,
        test=tested,
        reset=FullBatches(calibration) if settings.reset else None,
    )
    a, b = (member.reference for member in family.members)
    label = _label(settings.align)
    measured = MeasuredCurve(
        label=label, a=a, b=b, align=settings.align, data=settings.data, **vars(curve)
    )
    if settings.plot is not None:
        plot_barrier({label: curve}, settings.plot)
    return BarrierReport(measured, aligned, settings.plot)


def measure_aligned(
    inputs: OpenedInputs,
    aligned: Sequence[Aligned],
    settings: AlignSettings,
    progress: Progress,
    *,
    reset: bool = True,
) -> list[MeasuredCurve]:
    """The curve from the first member to each aligned one; none without data to score on."""
    family, curves = inputs.family, []
    if inputs.scored is None or settings.evaluate is None:
        return []
    for one in aligned:
        member = family.members[one.index]
        curve = _measure(
            family,
            Permuted(family.spec, one.permutation, member.state),
            inputs.scored,
            settings,
            progress,
            reset=FullBatches(inputs.calibration or inputs.scored) if reset else None,
        )
        parent = f", parent {one.index + 1}" if len(aligned) > 1 else ""
        curves.append(
            MeasuredCurve(
                label=_label(settings.method) + parent,
                a=family.members[0].reference,
                b=member.reference,
                align=settings.method,
                data=settings.evaluate,
                **vars(curve),
            )
        )
    return curves


def _label(method: str) -> str:
    return "as they are" if method == "none" else f"{method} matching"


def _measure(
    family: Family,
    state: Mapping[str, Tensor],
    data: Iterable[Any],
    settings: AlignSettings | BarrierSettings,
    progress: Progress,
    *,
    test: Iterable[Any] | None = None,
    reset: Iterable[Any] | None,
) -> BarrierCurve:
    """The curve from the family's first member to ``state``, already aligned to it."""
    loss, metric = scoring(family.first)
    return barrier(
        family.module,
        float_state(family.members[0].state, settings.device),
        float_state(state, settings.device),
        data,
        test=test,
        alphas=settings.alphas,
        reset=reset if has_running_statistics(family.module) else None,
        loss=loss,
        metric=metric,
        progress=stage(progress, "barrier"),
    )


def _require_plottable(path: Path) -> None:
    """Refuse a wrong name of the plot at once, not after minutes of work."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{path.name}'.")
    if not path.parent.is_dir():
        raise MergeError(f"the folder of the plot, {path.parent}, does not exist")
