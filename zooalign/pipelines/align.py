"""Align one model to another and write it as a directory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zooalign.graph.capture import captured_once
from zooalign.pipelines.assemble import (
    Release,
    WrittenReport,
    require_output,
    require_room,
    write_release,
)
from zooalign.pipelines.barrier import measure_aligned
from zooalign.pipelines.matching import align_members, of_spec, open_inputs, require_data
from zooalign.pipelines.plan import require_memory
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.curves import barrier_summary
from zooalign.release.provenance import BarrierSummary, Provenance, noted_warnings
from zooalign.release.results import merged_fields
from zooalign.release.settings import AlignSettings, Naming
from zooalign.release.sources import source_of
from zooalign.symmetry import Element

__all__ = ["AlignReport", "AlignResult", "align_models"]

# The source is matched by the labels and tokens that both have, and keeps its own.
_OWN_NAMES = Naming(tokens="first", head="first")


@dataclass(frozen=True)
class AlignResult:
    """The JSON of ``zooalign align`` (``docs/cli.md``)."""

    output: str
    method: str
    groups: int
    moved_fraction: float
    objective_before: float
    objective_after: float
    max_relative_error: float
    tolerance: float
    spec_hash: str
    log10_order: float
    diagnosis: Mapping[str, Any]
    barrier: tuple[BarrierSummary, ...] | None
    warnings: tuple[str, ...]
    seconds: float
    dry_run: bool


@dataclass(frozen=True)
class AlignReport(WrittenReport):
    """What ``zooalign align`` did."""

    @property
    def result(self) -> AlignResult:
        """The JSON as a typed value."""
        record = self.provenance
        return merged_fields(AlignResult, record, record.alignments[0], self)


@captured_once()
def align_models(
    target: str,
    source: str,
    output: str,
    settings: AlignSettings | None = None,
    *,
    command: str | None = None,
    progress: Progress = silent,
) -> AlignReport:
    """Reorder the units of ``source`` to match those of ``target`` and write the result.

    The output computes the same function as ``source``; that is checked before it is written.

    Parameters
    ----------
    target, source:
        References of two models of one architecture.
    output:
        The directory to write.
    command:
        The command line that does this again, for provenance.

    Raises
    ------
    ZooalignError
        If anything is missing or does not fit; nothing is left behind.
    """
    start = time.perf_counter()
    settings = settings or AlignSettings()
    require_data(settings.method, settings.data)
    require_output(output, overwrite=settings.overwrite)
    with noted_warnings() as notes:
        progress("open", 0, 1)
        inputs = open_inputs([target, source], settings, _OWN_NAMES)
        family = inputs.family
        require_memory(family, settings)
        require_room(output, family.members[1].checkpoint, dry_run=settings.dry_run)
        (aligned,) = align_members(family, settings, inputs.calibration, progress)
        curves = measure_aligned(inputs, [aligned], settings, progress)
        name = layout.permutation_name(None)
        member, (_, spec) = family.members[1], family.stored_forms[1]
        moved = aligned.moved
        if not isinstance(moved, Element):
            moved = of_spec(spec, moved)
        shape = {"spec_hash": spec.hash, "log10_order": spec.log10_order}
        provenance = Provenance(
            operation="align",
            **(inputs.record(settings) | shape),
            sources=tuple(
                source_of(each.stored, role)
                for each, role in zip(family.members, ("target", "source"), strict=True)
            ),
            alignments=(aligned.record(name),),
            weights=None,
            statistics="kept",
            recomputed=(),
            barrier=barrier_summary(curves),
            score=None,
            refit=None,
            benefit=None,
            warnings=notes(),
            command=command,
        )
        release = Release(
            like=member,
            spec=spec,
            permutations={name: moved},
            provenance=provenance,
            curves=curves,
        )
        tensors = aligned.applied(spec, member.checkpoint)
        if not settings.dry_run:
            write_release(output, release, tensors, overwrite=settings.overwrite, progress=progress)
    seconds = time.perf_counter() - start
    return AlignReport(output, len(family.spec.groups), provenance, seconds, settings.dry_run)
