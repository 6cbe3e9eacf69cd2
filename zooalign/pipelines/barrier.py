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
from zooalign.pipelines.matching import Aligned, Inputs, align_members, diagnosis_to_dict
from zooalign.progress import Progress, silent, stage
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.curves import MeasuredCurve
from zooalign.release.opening import Family, open_family
from zooalign.release.results import merged_fields, plain
from zooalign.release.settings import AlignSettings, BarrierSettings
from zooalign.symmetry import Permuted

__all__ = ["BarrierReport", "BarrierResult", "barrier_models", "measure_aligned"]


@dataclass(frozen=True, kw_only=True)
class _Ends:
    a: str
    b: str
    align: str
    data: str


@dataclass(frozen=True, kw_only=True)
class BarrierResult(BarrierCurve, _Ends):
    """The JSON of ``zooalign barrier`` (``docs/cli.md``): a curve and what it is of."""

    moved_fraction: float | None
    diagnosis: Mapping[str, Any] | None
    plot: str | None


@dataclass(frozen=True)
class BarrierReport:
    """What ``zooalign barrier`` measured."""

    measured: MeasuredCurve
    aligned: Aligned | None
    plot: str | None

    @property
    def result(self) -> BarrierResult:
        """Its JSON."""
        aligned = self.aligned
        more = {
            "moved_fraction": None if aligned is None else aligned.permutation.moved_fraction,
            "diagnosis": None
            if aligned is None
            else diagnosis_to_dict(aligned.diagnosis, aligned.outcome),
            "plot": self.plot,
        }
        return merged_fields(BarrierResult, self.measured.to_dict(), more)

    def to_dict(self) -> dict[str, Any]:
        """The JSON as plain values."""
        return dict(plain(self.result))


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
    family = open_family([a, b], model=settings.model, allow_pickle=settings.allow_pickle)
    scored, tested, calibration = (
        None if text is None else open_for(family.first, text, settings.loading)
        for text in (settings.data, settings.test, settings.calibration)
    )
    assert scored is not None
    calibration = calibration or scored
    aligned, label = None, "as they are"
    state: Mapping[str, Tensor] = family.members[1].state
    if settings.align != "none":
        how = AlignSettings(method=settings.align, seed=settings.seed, device=settings.device)
        (aligned,) = align_members(family, how, calibration, progress)
        label = _label(how)
        state = Permuted(family.spec, aligned.permutation, state)
    curve = measure(
        family,
        state,
        scored,
        test=tested,
        reset=FullBatches(calibration) if settings.reset else None,
        alphas=settings.alphas,
        device=settings.device,
        progress=progress,
    )
    ends = (family.members[0].reference, family.members[1].reference)
    measured = _measured(curve, label, ends, settings.align, settings.data)
    if settings.plot is not None:
        plot_barrier({label: curve}, settings.plot)
    return BarrierReport(measured, aligned, settings.plot)


def measure_aligned(
    inputs: Inputs,
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
        curve = measure(
            family,
            Permuted(family.spec, one.permutation, member.state),
            inputs.scored,
            reset=FullBatches(inputs.calibration or inputs.scored) if reset else None,
            alphas=settings.alphas,
            device=settings.device,
            progress=progress,
        )
        label = _label(settings) + (f", parent {one.index + 1}" if len(aligned) > 1 else "")
        ends = (family.members[0].reference, member.reference)
        curves.append(_measured(curve, label, ends, settings.method, settings.evaluate))
    return curves


def _measured(
    curve: BarrierCurve, label: str, ends: tuple[str, str], align: str, data: str
) -> MeasuredCurve:
    a, b = ends
    return MeasuredCurve(label=label, a=a, b=b, align=align, data=data, **vars(curve))


def _label(settings: AlignSettings) -> str:
    return "as they are" if settings.method == "none" else f"{settings.method} matching"


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
