"""Align one model to another and write it as a directory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.matching.solvers import DEFAULT
from zooalign.pipelines.assemble import Release, require_output, write_release
from zooalign.pipelines.barrier import measure
from zooalign.pipelines.matching import align_members, require_data
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.calibration import FullBatches, describe_data, open_for
from zooalign.release.curves import MeasuredCurve, barrier_summary
from zooalign.release.opening import open_family
from zooalign.release.provenance import Provenance, noted_warnings, versions
from zooalign.release.settings import Loading
from zooalign.release.sources import source_of
from zooalign.symmetry import Permuted

__all__ = ["AlignReport", "align_models"]


@dataclass(frozen=True)
class AlignReport:
    """What ``zooalign align`` did; ``provenance`` is what it wrote down."""

    output: str
    groups: int
    provenance: Provenance
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        record = self.provenance.alignments[0]
        return {
            "output": self.output,
            "method": self.provenance.method,
            "groups": self.groups,
            "moved_fraction": record.moved_fraction,
            "objective_before": record.objective_before,
            "objective_after": record.objective_after,
            "max_relative_error": record.max_relative_error,
            "tolerance": record.tolerance,
            "spec_hash": self.provenance.spec_hash,
            "log10_order": self.provenance.log10_order,
            "diagnosis": dict(record.diagnosis),
            "barrier": self.provenance.barrier,
            "warnings": list(self.provenance.warnings),
            "seconds": self.seconds,
        }


def align_models(
    target: str,
    source: str,
    output: str,
    *,
    model: str | None = None,
    method: str = DEFAULT,
    data: str | None = None,
    evaluate: str | None = None,
    alphas: int = 25,
    seed: int = 0,
    device: str = "cpu",
    loading: Loading | None = None,
    options: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress = silent,
) -> AlignReport:
    """Bring the units of ``source`` in the order of ``target``'s and write the result.

    The output computes the same function as ``source``; that is checked before it is written.

    Parameters
    ----------
    target, source:
        References of two models of one architecture.
    output:
        The directory to write.
    model:
        The architecture of both, in place of what their configurations say.
    method:
        ``activation`` (needs ``data``), ``weight``, or a plugin's.
    evaluate:
        Data with targets to measure the barrier on, written beside the weights.
    options:
        Passed to the matching method.
    command:
        The command line that does this again, for provenance.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.
    """
    start = time.perf_counter()
    loading = loading or Loading()
    require_data(method, data)
    require_output(output, overwrite=overwrite)
    with noted_warnings() as notes:
        progress("open", 0, 1)
        family = open_family([target, source], model=model, allow_pickle=allow_pickle)
        batches = None if data is None else open_for(family.first, data, loading)
        scored = None if evaluate is None else open_for(family.first, evaluate, loading)
        (aligned,) = align_members(
            family,
            method=method,
            batches=batches,
            seed=seed,
            device=device,
            progress=progress,
            options=options,
        )
        second = family.members[1]
        curves = []
        if scored is not None and evaluate is not None:
            curve = measure(
                family,
                Permuted(family.spec, aligned.permutation, second.state),
                scored,
                reset=FullBatches(batches or scored),
                alphas=alphas,
                device=device,
                progress=progress,
            )
            ends = (family.members[0].reference, second.reference)
            curves.append(MeasuredCurve(f"{method} matching", *ends, method, evaluate, curve))
        name = layout.permutation_name(None)
        provenance = Provenance(
            operation="align",
            architecture={
                "library": family.first.architecture.library,
                "name": family.first.architecture.name,
            },
            sources=(
                source_of(family.members[0].model, "target"),
                source_of(second.model, "source"),
            ),
            method=method,
            seed=seed,
            data=None if batches is None else describe_data(batches, loading),
            spec_hash=family.spec.hash,
            log10_order=family.spec.log10_order,
            alignments=(aligned.record(name),),
            weights=None,
            statistics="kept",
            recomputed=(),
            barrier=barrier_summary(curves),
            score=None,
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
            },
        )
        release = Release(
            like=second,
            spec=family.spec,
            permutations={name: aligned.permutation},
            provenance=provenance,
            curves=curves,
            title=Path(output).name,
        )
        tensors = Permuted(family.spec, aligned.permutation, second.checkpoint)
        write_release(output, release, tensors, overwrite=overwrite, progress=progress)
    return AlignReport(output, len(family.spec.groups), provenance, time.perf_counter() - start)
