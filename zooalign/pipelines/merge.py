"""Merge two or more models, aligned to the first, and write the result as a directory."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.lazy_state import float_state
from zooalign.matching.many import require_way
from zooalign.matching.solvers import DEFAULT
from zooalign.merging.evaluate import evaluate as score_of
from zooalign.merging.merge import Correction, merge_states
from zooalign.pipelines.assemble import Release, require_output, write_release
from zooalign.pipelines.barrier import measure
from zooalign.pipelines.matching import Aligned, align_members, require_data
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.calibration import FullBatches, describe_data, open_for, scoring
from zooalign.release.curves import MeasuredCurve, barrier_summary
from zooalign.release.opening import Family, open_family
from zooalign.release.provenance import Provenance, noted_warnings, versions
from zooalign.release.settings import Loading
from zooalign.release.sources import source_of
from zooalign.symmetry import Permuted
from zooalign.zoo.data import Batches

__all__ = ["MergeReport", "merge_models"]

STALE = (
    "the merged running statistics are STALE: they are the average of the parents', which does "
    "not fit the merged weights, and the model will work badly until they are recomputed. Give "
    "calibration data (--data) to have them reset. The output is marked"
)


@dataclass(frozen=True)
class MergeReport:
    """What ``zooalign merge`` did; ``provenance`` is what it wrote down."""

    output: str
    groups: int
    provenance: Provenance
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        made = self.provenance
        return {
            "output": self.output,
            "method": made.method,
            "groups": self.groups,
            "weights": list(made.weights or ()),
            "aligned": [
                {"reference": made.sources[a.source].reference, **a.to_dict()}
                for a in made.alignments
            ],
            "statistics": made.statistics,
            "stale_statistics": made.stale_statistics,
            "barrier": made.barrier,
            "score": made.score,
            "spec_hash": made.spec_hash,
            "log10_order": made.log10_order,
            "warnings": list(made.warnings),
            "seconds": self.seconds,
        }


def _require_equal_dtypes(family: Family) -> None:
    first = family.members[0]
    for other in family.members[1:]:
        for name in first.state:
            ours, theirs = first.state.info(name).dtype, other.state.info(name).dtype
            if ours != theirs:
                raise MergeError(
                    f"'{name}' is {ours} in '{first.reference}' and {theirs} in "
                    f"'{other.reference}': convert one of them first"
                )


@dataclass(frozen=True)
class _Opened:
    family: Family
    calibration: Batches | None
    scored: Batches | None


def merge_models(
    references: Sequence[str],
    output: str,
    *,
    weights: Sequence[float] | None = None,
    model: str | None = None,
    method: str = DEFAULT,
    through: str = "reference",
    data: str | None = None,
    evaluate: str | None = None,
    alphas: int = 25,
    reset: bool = True,
    repair: bool = False,
    seed: int = 0,
    device: str = "cpu",
    loading: Loading | None = None,
    options: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress = silent,
) -> MergeReport:
    """Average models, each brought in the order of the first one's units.

    Running statistics are reset on ``data`` where the architecture has them; without data (or
    with ``reset`` off) they are stale, which is warned of and recorded.

    Parameters
    ----------
    references:
        Two or more models of one architecture and equal dtypes.
    weights:
        One number per model; divided by their sum. Equal if None.
    method:
        ``activation`` (needs ``data``), ``weight``, a plugin's, or ``none`` to average as is.
    through:
        ``reference``: each model is matched to the first alone. ``universe``, ``mean`` or
        ``auto``: all at once, by ``activation`` or ``weight``
        (:func:`zooalign.matching.match_many`), in the order that the first one has.
    evaluate:
        Data with targets: the merge is scored, and a barrier measured for every aligned parent.
    repair:
        REPAIR the layers that no batch normalisation follows; needs ``data``.

    Other parameters are those of :func:`zooalign.pipelines.align.align_models`.

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
    loading = loading or Loading()
    if len(references) < 2:
        raise MergeError("a merge takes two models or more")
    require_way(method, through)
    require_data(method, data)
    if repair and data is None:
        raise DataError("REPAIR measures activations and needs data: add --data")
    require_output(output, overwrite=overwrite)
    with noted_warnings() as notes:
        progress("open", 0, 1)
        family = open_family(references, model=model, allow_pickle=allow_pickle)
        _require_equal_dtypes(family)
        opened = _Opened(
            family,
            None if data is None else open_for(family.first, data, loading),
            None if evaluate is None else open_for(family.first, evaluate, loading),
        )
        aligned = align_members(
            family,
            method=method,
            through=through,
            batches=opened.calibration,
            seed=seed,
            device=device,
            progress=progress,
            options=options,
        )
        merged = merge_states(
            family.module,
            family.spec,
            [member.state for member in family.members],
            [family.spec.identity(), *(found.permutation for found in aligned)],
            weights=weights,
            data=None if opened.calibration is None else FullBatches(opened.calibration),
            correction=Correction(reset, repair, device),
        )
        if merged.statistics == "stale":
            warnings.warn(STALE, ZooalignWarning, stacklevel=2)
        curves = _curves(opened, aligned, method, evaluate, alphas, device, progress, reset=reset)
        names = {found.index: layout.permutation_name(found.index) for found in aligned}
        provenance = Provenance(
            operation="merge",
            architecture={
                "library": family.first.architecture.library,
                "name": family.first.architecture.name,
            },
            sources=tuple(source_of(member.model, "parent") for member in family.members),
            method=method,
            seed=seed,
            data=None if opened.calibration is None else describe_data(opened.calibration, loading),
            spec_hash=family.spec.hash,
            log10_order=family.spec.log10_order,
            alignments=tuple(found.record(names[found.index]) for found in aligned),
            weights=merged.weights,
            statistics=merged.statistics,
            recomputed=merged.recomputed,
            barrier=barrier_summary(curves),
            score=_score(opened, merged.state, device),
            versions=versions(),
            warnings=notes(),
            command=command,
            settings={
                "model": model,
                "evaluate": evaluate,
                "alphas": alphas,
                "device": device,
                "options": dict(options or {}),
                "allow_pickle": allow_pickle,
                "reset": reset,
                "repair": repair,
                **({} if through == "reference" else {"through": through}),
            },
        )
        release = Release(
            like=family.members[0],
            spec=family.spec,
            permutations={names[found.index]: found.permutation for found in aligned},
            provenance=provenance,
            curves=curves,
            title=Path(output).name,
        )
        write_release(output, release, merged.state, overwrite=overwrite, progress=progress)
    return MergeReport(output, len(family.spec.groups), provenance, time.perf_counter() - start)


def _curves(
    opened: _Opened,
    aligned: Sequence[Aligned],
    method: str,
    evaluate: str | None,
    alphas: int,
    device: str,
    progress: Progress,
    *,
    reset: bool,
) -> list[MeasuredCurve]:
    family, curves = opened.family, []
    if opened.scored is None or evaluate is None:
        return []
    for found in aligned:
        member = family.members[found.index]
        curve = measure(
            family,
            Permuted(family.spec, found.permutation, member.state),
            opened.scored,
            reset=FullBatches(opened.calibration or opened.scored) if reset else None,
            alphas=alphas,
            device=device,
            progress=progress,
        )
        label = f"{method} matching" if method != "none" else "as they are"
        if len(aligned) > 1:
            label += f", parent {found.index + 1}"
        ends = (family.members[0].reference, member.reference)
        curves.append(MeasuredCurve(label, *ends, method, evaluate, curve))
    return curves


def _score(
    opened: _Opened, merged: Mapping[str, Tensor], device: str
) -> dict[str, float | int | None] | None:
    if opened.scored is None:
        return None
    loss, metric = scoring(opened.family.first)
    found = score_of(
        opened.family.module, float_state(merged, device), opened.scored, loss=loss, metric=metric
    )
    return {"loss": found.loss, "accuracy": found.accuracy, "count": found.count}
