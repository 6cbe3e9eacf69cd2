"""Barriers between referenced models, as they are or after alignment."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.graph.lazy_state import State, float_state
from zooalign.kinds import Symmetries
from zooalign.matching.solvers import solver_named
from zooalign.merging.barrier import curve_between, warn_of_poor_ends
from zooalign.merging.curve import CurveFields
from zooalign.merging.evaluate import Scoring
from zooalign.merging.statistics import has_running_statistics
from zooalign.pipelines.matching import Aligned, OpenedInputs, align_members, diagnosis_to_dict
from zooalign.progress import Progress, silent, stage
from zooalign.release.calibration import FullBatches, open_for, scoring
from zooalign.release.curves import MeasuredCurve, plot_curves
from zooalign.release.opening import Family, open_family
from zooalign.release.results import Report, merged_fields
from zooalign.release.settings import AlignSettings, BarrierSettings
from zooalign.zoo.data import Batches

__all__ = [
    "BarrierReport",
    "BarrierResult",
    "CurveResult",
    "MethodCurve",
    "barrier_models",
    "measure_aligned",
]


@dataclass(frozen=True, kw_only=True)
class _Models:
    a: str
    b: str
    align: str
    data: str


@dataclass(frozen=True, kw_only=True)
class CurveResult(CurveFields, _Models):
    """A curve, what it is of, and what the alignment moved."""

    moved_fraction: float | None
    diagnosis: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class BarrierResult(CurveResult):
    """The JSON of ``zooalign barrier`` (``docs/cli.md``): the last curve, and all of them."""

    curves: tuple[CurveResult, ...]
    plot: str | None


@dataclass(frozen=True)
class MethodCurve:
    """A curve, and the alignment that it was measured under; None where there was none."""

    measured: MeasuredCurve
    aligned: Aligned | None

    @property
    def result(self) -> CurveResult:
        """The JSON as a typed value."""
        moved, diagnosis = None, None
        if self.aligned is not None:
            moved = self.aligned.permutation.moved_fraction
            diagnosis = diagnosis_to_dict(self.aligned.diagnosis, self.aligned.outcome)
        alignment = {"moved_fraction": moved, "diagnosis": diagnosis}
        return merged_fields(CurveResult, self.measured.to_dict(), alignment)


@dataclass(frozen=True)
class BarrierReport(Report):
    """What ``zooalign barrier`` measured: a curve for each way to align, in the order given."""

    curves: tuple[MethodCurve, ...]
    plot: str | None

    @property
    def measured(self) -> MeasuredCurve:
        """The last curve."""
        return self.curves[-1].measured

    @property
    def aligned(self) -> Aligned | None:
        """The alignment of the last curve."""
        return self.curves[-1].aligned

    @property
    def result(self) -> BarrierResult:
        """The JSON as a typed value."""
        results = tuple(curve.result for curve in self.curves)
        return BarrierResult(**_init_fields(results[-1]), curves=results, plot=self.plot)


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

    Warns
    -----
    ZooalignWarning
        If an end's own running statistics are poor, so that the barrier is understated.
    """
    if settings.plot is not None:
        _require_plottable(Path(settings.plot))
    methods = _methods(settings.align)
    family = open_family([a, b], settings)
    if family.differing:
        warnings.warn(
            f"{family.differences}: each end is scored in its own configuration, the points "
            f"between in that of '{family.first.reference}'",
            ZooalignWarning,
            stacklevel=3,
        )
    scored, tested, calibration = (
        None if text is None else open_for(family.first, text, settings.loading)
        for text in (settings.data, settings.test, settings.calibration)
    )
    assert scored is not None
    calibration = calibration or scored
    measure = _Measure(
        family,
        scored,
        settings,
        progress,
        test=tested,
        calibration=calibration,
        reset=settings.reset,
    )
    curves: list[MethodCurve] = []
    for method, symmetries in _variants(methods, settings.symmetries):
        aligned = None
        if method != "none":
            matching = AlignSettings(
                method=method,
                symmetries=symmetries,
                seed=settings.seed,
                device=settings.device,
                measuring=settings.measuring,
            )
            (aligned,) = align_members(family, matching, calibration, progress)
        label = _label(method, symmetries)
        measured = measure.curve(1, aligned, method, settings.data, label)
        curves.append(MethodCurve(measured, aligned))
    measure.warn_of_poor_ends(curves[0].measured)
    plot = None if settings.dry_run else settings.plot
    if plot is not None:
        plot_curves([curve.measured for curve in curves], plot)
    return BarrierReport(tuple(curves), plot)


def measure_aligned(
    inputs: OpenedInputs,
    aligned: Sequence[Aligned],
    settings: AlignSettings,
    progress: Progress,
    *,
    reset: bool = True,
) -> list[MeasuredCurve]:
    """The curves from the first member to each aligned one, then to each as it is.

    There are none without data to score on, and one of a member that nothing was matched of.
    """
    if inputs.scored is None or settings.evaluate is None:
        return []
    calibration = inputs.calibration or inputs.scored
    measure = _Measure(
        inputs.family, inputs.scored, settings, progress, calibration=calibration, reset=reset
    )
    curves = []
    for method in dict.fromkeys((settings.method, "none")):
        for one in aligned:
            parent = f", parent {one.index + 1}" if len(aligned) > 1 else ""
            alignment = None if method == "none" else one
            label = _label(method, settings.symmetries)
            curve = measure.curve(one.index, alignment, method, settings.evaluate, label)
            curves.append(replace(curve, label=curve.label + parent))
    return curves


def _methods(text: str) -> tuple[str, ...]:
    """The matching methods in a list separated by commas, each checked before any work."""
    methods = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for method in methods:
        if method != "none":
            solver_named(method)
    return methods


def _variants(methods: Sequence[str], symmetries: Symmetries) -> Iterator[tuple[str, Symmetries]]:
    """Methods with how far symmetries go: beyond permutations these are measured beside it."""
    for method in methods:
        yield method, "permutations"
        if method != "none" and symmetries != "permutations":
            yield method, symmetries


@dataclass(frozen=True)
class _Measure:
    """Curves from a family's first member to another."""

    family: Family
    data: Iterable[Any]
    settings: AlignSettings | BarrierSettings
    progress: Progress
    _: KW_ONLY
    test: Iterable[Any] | None = None
    calibration: Batches
    reset: bool

    @cached_property
    def _scoring(self) -> Scoring:
        loss, metric = scoring(self.family.first, self.settings.measuring)
        reset = self.reset and has_running_statistics(self.family.module)
        batches = FullBatches(self.calibration) if reset else None
        return Scoring(self.family.module, self.data, self.test, batches, loss, metric)

    def _state(self, index: int, aligned: Aligned | None) -> State:
        state: State = self.family.members[index].state
        if aligned is not None:
            state = aligned.applied(self.family.spec, state)
        return float_state(state, self.settings.device)

    def _ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """The ends' own modules: their configurations may differ."""
        return self.family.module, self.family.members[index].module

    def curve(
        self, index: int, aligned: Aligned | None, method: str, data: str, label: str
    ) -> MeasuredCurve:
        """The curve to a member, under its alignment or as it is."""
        curve = curve_between(
            self._scoring,
            self._state(0, None),
            self._state(index, aligned),
            alphas=self.settings.alphas,
            progress=stage(self.progress, f"barrier, {label}"),
            ends=self._ends(index),
        )
        a, b = (self.family.members[n].reference for n in (0, index))
        return MeasuredCurve(label=label, a=a, b=b, align=method, data=data, **_init_fields(curve))

    def warn_of_poor_ends(self, curve: MeasuredCurve) -> None:
        """Warn where an end's running statistics hide the barrier."""
        states = self._state(0, None), self._state(1, None)
        warn_of_poor_ends(self._scoring, *states, curve, ends=self._ends(1))


def _label(method: str, symmetries: Symmetries = "permutations") -> str:
    if method == "none":
        return "as they are"
    beyond = "" if symmetries == "permutations" else f", {symmetries}"
    return f"{method} matching{beyond}"


def _init_fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _require_plottable(path: Path) -> None:
    """Refuse a wrong name of the plot at once, not after minutes of work."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise MergeError(f"a plot is a .svg or a .png file, not '{path.name}'.")
    if not path.parent.is_dir():
        raise MergeError(f"the folder of the plot, {path.parent}, does not exist")
