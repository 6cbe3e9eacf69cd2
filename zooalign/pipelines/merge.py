"""Merge two or more models, aligned to the first, and write the result as a directory."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import get_args

import msgspec
import torch

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.capture import captured_once
from zooalign.graph.dtypes import dtype_named, most_used_dtype, warn_of_dtypes
from zooalign.graph.lazy_state import State, float_state
from zooalign.matching.many import require_way
from zooalign.merging.benefit import benefit
from zooalign.merging.combine import Combination, combined
from zooalign.merging.interpolate import warn_of_rescaling
from zooalign.merging.merge import Correction, MergedState, merge_states
from zooalign.merging.named_rows import filled
from zooalign.merging.refit import Method, RefitResult, RefitSettings
from zooalign.pipelines.assemble import (
    Release,
    WrittenReport,
    require_output,
    require_room,
    write_release,
)
from zooalign.pipelines.barrier import measure_aligned
from zooalign.pipelines.matching import (
    Aligned,
    OpenedInputs,
    align_members,
    open_inputs,
    require_data,
)
from zooalign.pipelines.plan import require_memory
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.calibration import FullBatches, scoring
from zooalign.release.curves import barrier_summary
from zooalign.release.opening import Family
from zooalign.release.provenance import (
    REFIT_TOLERANCE,
    AlignmentRecord,
    BarrierSummary,
    BenefitRecord,
    Provenance,
    RefitRecord,
    ScoreRecord,
    StatisticsRecord,
    noted_warnings,
)
from zooalign.release.results import merged_fields
from zooalign.release.settings import MergeSettings
from zooalign.release.sources import source_of
from zooalign.symmetry import Permuted
from zooalign.zoo.configurations import stating_dtype
from zooalign.zoo.data import share_rows

__all__ = ["MergeReport", "MergeResult", "correction_of", "merge_models"]

STALE = (
    "the merged running statistics are STALE: they are the average of the parents', which does "
    "not fit the merged weights, and the model will work badly until they are recomputed. Give "
    "calibration data (--data) to have them reset. The output is marked"
)


@dataclass(frozen=True)
class _Reference:
    reference: str


@dataclass(frozen=True)
class AlignedParent(AlignmentRecord, _Reference):
    """An alignment with the reference of the parent."""


@dataclass(frozen=True)
class MergeResult:
    """The JSON of ``zooalign merge`` (``docs/cli.md``)."""

    output: str
    method: str
    groups: int
    weights: tuple[float, ...]
    aligned: tuple[AlignedParent, ...]
    statistics: StatisticsRecord
    stale_statistics: bool
    refit: RefitRecord | None
    barrier: tuple[BarrierSummary, ...] | None
    score: ScoreRecord | None
    benefit: BenefitRecord | None
    spec_hash: str
    log10_order: float
    warnings: tuple[str, ...]
    seconds: float
    dry_run: bool


@dataclass(frozen=True)
class MergeReport(WrittenReport):
    """What ``zooalign merge`` did."""

    @property
    def result(self) -> MergeResult:
        """The JSON as a typed value."""
        record = self.provenance
        aligned = [
            {"reference": record.sources[alignment.source].reference, **vars(alignment)}
            for alignment in record.alignments
        ]
        return merged_fields(MergeResult, record, self, {"aligned": aligned})


@captured_once()
def merge_models(
    references: Sequence[str],
    output: str,
    settings: MergeSettings | None = None,
    *,
    command: str | None = None,
    progress: Progress = silent,
) -> MergeReport:
    """Average models, each with its units reordered to match those of the first one.

    Running statistics are reset on the data where the architecture has them; without data (or
    with ``reset`` off) they are stale, which is warned of and recorded.

    Parameters
    ----------
    references:
        Two or more models of one architecture; of several dtypes the widest is written,
        unless ``settings.dtype`` names one.
    output:
        The directory to write.
    command:
        The command line that does this again, for provenance.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.

    Warns
    -----
    ZooalignWarning
        If running statistics are left stale.
    """
    start = time.perf_counter()
    settings = settings or MergeSettings()
    _require_possible(references, settings)
    require_output(output, overwrite=settings.overwrite)
    correction = correction_of(settings)
    with noted_warnings() as notes:
        progress("open", 0, 1)
        inputs = open_inputs(references, settings, settings.naming)
        family, calibration = inputs.family, inputs.calibration
        require_memory(family, settings)
        require_room(output, family.members[0].checkpoint, dry_run=settings.dry_run)
        family.accept_different(settings.allow_different_configs, "their average")
        correction = _for_rows(family, _for_configurations(family, correction), settings)
        states = [member.state for member in family.members]
        warn_of_dtypes(states, asked_for=settings.dtype)
        warn_of_rescaling(settings.weights)
        aligned = align_members(family, settings, calibration, progress, through=settings.through)
        merged = _merged(inputs, aligned, settings, correction, progress)
        curves = measure_aligned(inputs, aligned, settings, progress, reset=settings.reset)
        worth = _benefit(inputs, merged, settings)
        names = {one.index: layout.permutation_name(one.index) for one in aligned}
        provenance = Provenance(
            operation="merge",
            **inputs.record(settings),
            sources=tuple(source_of(member.stored, "parent") for member in family.members),
            alignments=tuple(one.record(names[one.index]) for one in aligned),
            weights=merged.weights,
            statistics=merged.statistics,
            recomputed=merged.recomputed,
            barrier=barrier_summary(curves),
            score=_score(worth),
            refit=_refit_record(merged.refit, settings),
            benefit=worth,
            warnings=notes(),
            command=command,
            names=family.records,
        )
        release = Release(
            like=family.members[0],
            spec=family.spec,
            permutations={names[one.index]: one.moved for one in aligned},
            provenance=provenance,
            curves=curves,
            config_files=_config_files(family, merged.state),
        )
        if not settings.dry_run:
            write_release(
                output, release, merged.state, overwrite=settings.overwrite, progress=progress
            )
    seconds = time.perf_counter() - start
    return MergeReport(output, len(family.spec.groups), provenance, seconds, settings.dry_run)


def _require_possible(references: Sequence[str], settings: MergeSettings) -> None:
    if len(references) < 2:
        raise MergeError("a merge takes two models or more")
    require_way(settings.method, settings.through)
    require_data(settings.method, settings.data)
    if settings.repair and settings.data is None:
        raise DataError("REPAIR measures activations and needs data: add --data")
    if settings.refit not in ("auto", "none") and settings.data is None:
        raise DataError(f"a refit ({settings.refit}) runs the models and needs data: add --data")


def _combination(settings: MergeSettings) -> Combination | None:
    return None if settings.combine is None else Combination.from_json(settings.combine)


def correction_of(settings: MergeSettings) -> Correction:
    """What to do about what averaging breaks.

    Raises
    ------
    MergeError
        For an unknown refit or option of it, or an option of another type.
    """
    if settings.refit not in get_args(Method):
        methods = ", ".join(get_args(Method))
        raise MergeError(f"there is no refit '{settings.refit}'; there are {methods} (--refit)")
    known = [f.name for f in fields(RefitSettings) if f.name not in ("method", "seed")]
    for name in settings.refit_options:
        if name not in known:
            raise MergeError(
                f"a refit has no option '{name}'; it has {', '.join(known)} (--refit-set, "
                "refit_options)"
            )
    values = {"method": settings.refit, "seed": settings.seed, **settings.refit_options}
    try:
        refit = msgspec.convert(values, RefitSettings)
    except msgspec.ValidationError as error:
        raise MergeError(f"the options of the refit do not fit: {error}") from error
    return Correction(settings.reset, settings.repair, settings.device, refit)


def _for_configurations(family: Family, correction: Correction) -> Correction:
    """A refit runs every parent in one graph, which is not that of another configuration."""
    if not family.differing:
        return correction
    method = correction.refit.method
    if method not in ("auto", "none") or correction.repair:
        what = "REPAIR" if correction.repair else f"a refit ({method})"
        raise MergeError(
            f"{family.differences}: {what} measures the parents in one configuration; leave it out"
        )
    return replace(correction, refit=RefitSettings(method="none"))


def _for_rows(family: Family, correction: Correction, settings: MergeSettings) -> Correction:
    """Models of other labels or tokens cannot be run side by side on the same data."""
    if not family.lacks_rows and not family.members[0].changes:
        return correction
    method = correction.refit.method
    for flag, asked in (
        ("--evaluate", settings.evaluate is not None),
        ("--repair", correction.repair),
        ("--refit", method not in ("auto", "none")),
        ("--data", settings.data is not None and settings.naming.tokens == "intersection"),
    ):
        if asked:
            raise MergeError(
                f"{flag} runs every model on the same data, and they have other labels or tokens: "
                "leave it out, and evaluate what is written"
            )
    return replace(correction, refit=RefitSettings(method="none"))


def _merged(
    inputs: OpenedInputs,
    aligned: Sequence[Aligned],
    settings: MergeSettings,
    correction: Correction,
    progress: Progress,
) -> MergedState:
    """The average of the aligned members, corrected."""
    family, calibration = inputs.family, inputs.calibration
    first, *others = (member.state for member in family.members)
    parents: list[State] = [
        Permuted(family.spec, family.spec.identity(), first),
        *(one.applied(family.spec, s) for one, s in zip(aligned, others, strict=True)),
    ]
    weights = _combination(settings) or settings.weights
    if family.lacks_rows:
        sources = [member.sources for member in family.members]
        parents = filled(parents, sources, combined(parents, weights).weights)
    merged = merge_states(
        family.module,
        family.spec,
        parents,
        weights=weights,
        data=None if calibration is None else FullBatches(calibration),
        correction=correction,
        dtype=dtype_named(settings.dtype),
        progress=progress,
    )
    if merged.statistics == "stale":
        warnings.warn(STALE, ZooalignWarning, stacklevel=3)
    return merged


def _config_files(family: Family, state: State) -> dict[str, bytes]:
    """The files beside the weights, which name their dtype where it is not the first model's."""
    files, dtype = family.config_files(), most_used_dtype(state)
    if dtype is None or dtype == most_used_dtype(family.members[0].state):
        return files
    return stating_dtype(files, dtype)


def _refit_record(refitted: RefitResult | None, settings: MergeSettings) -> RefitRecord | None:
    if refitted is None:
        return None
    return RefitRecord(
        **{name: value for name, value in vars(refitted).items() if name != "state"},
        seed=settings.seed,
        threads=torch.get_num_threads(),
        tolerance=REFIT_TOLERANCE,
    )


def _benefit(
    inputs: OpenedInputs, merged: MergedState, settings: MergeSettings
) -> BenefitRecord | None:
    """The merge beside its parents on the data to evaluate on."""
    if inputs.scored is None or settings.evaluate is None:
        return None
    loss, metric = scoring(inputs.family.first, settings.measuring)
    measured = benefit(
        inputs.family.module,
        float_state(merged.state, settings.device),
        [float_state(member.state, settings.device) for member in inputs.family.members],
        inputs.scored,
        weights=_average_weights(settings, merged),
        loss=loss,
        metric=metric,
        parent_modules=[member.module for member in inputs.family.members],
    )
    held_out = settings.data is None or not share_rows(settings.evaluate, settings.data)
    return BenefitRecord(**vars(measured), data=settings.evaluate, held_out=held_out)


def _average_weights(settings: MergeSettings, merged: MergedState) -> tuple[float, ...] | None:
    """Those of the parents' ensemble that the merge is beside; None: equal ones."""
    combination = _combination(settings)
    return merged.weights if combination is None else combination.average


def _score(worth: BenefitRecord | None) -> ScoreRecord | None:
    """The merge's own score on the data to evaluate on."""
    if worth is None or worth.merge is None:
        return None
    return ScoreRecord(**vars(worth.merge))
