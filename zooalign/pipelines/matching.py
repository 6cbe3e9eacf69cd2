"""Matching the members of a family to the first one, with its diagnosis and its proof."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zooalign.errors import DataError, MergeError, SpecError
from zooalign.graph.batches import read_batches
from zooalign.matching import Match, match, match_many
from zooalign.matching.many import require_way
from zooalign.matching.solvers import NEED_DATA, RUN_THE_MIDPOINT
from zooalign.merging.diagnose import Diagnosis, diagnose
from zooalign.merging.evaluate import cross_entropy
from zooalign.merging.outcome import Outcome, outcome
from zooalign.progress import Progress, stage
from zooalign.release.calibration import scoring
from zooalign.release.opening import CastLike, Family
from zooalign.release.provenance import Alignment
from zooalign.symmetry import Permutation, Permuted
from zooalign.symmetry.same_function import Comparison, compare_functions

__all__ = ["Aligned", "align_member", "align_together", "require_data", "runnable"]

# Options of match_many that are a caller's to set.
_MANY = frozenset({"kind", "scale", "columns", "labels", "criterion"})


@dataclass(frozen=True)
class Aligned:
    """One member of a family, brought in the order of the first.

    ``found`` is None where nothing was matched (method ``none``).
    """

    index: int
    permutation: Permutation
    found: Match | None
    diagnosis: Diagnosis
    comparison: Comparison
    outcome: Outcome | None = None

    def record(self, file: str) -> Alignment:
        """For provenance; ``file`` is the permutation's name."""
        found = self.found
        return Alignment(
            source=self.index,
            permutation=file,
            moved_fraction=self.permutation.moved_fraction,
            objective_before=found.objective_before if found else 0.0,
            objective_after=found.objective_after if found else 0.0,
            max_relative_error=self.comparison.max_relative_error,
            tolerance=self.comparison.tolerance,
            diagnosis=diagnosis_to_dict(self.diagnosis, self.outcome),
            details=dict(found.details) if found else {},
        )


def diagnosis_to_dict(diagnosis: Diagnosis, outcome: Outcome | None = None) -> dict[str, Any]:
    """JSON-able, with the outcome of the alignment where there is one."""
    return {
        "kind": diagnosis.kind,
        "nothing_to_align": diagnosis.nothing_to_align,
        "cosine": diagnosis.cosine,
        "verdict": diagnosis.verdict,
        "outcome": None if outcome is None else outcome.to_dict(),
    }


def require_data(method: str, data: str | None) -> None:
    """Raise DataError where a method that runs the models was asked for and no data given."""
    if method in NEED_DATA and data is None:
        raise DataError(
            f"{method} matching runs both models on data, and none was given: add --data (an "
            "image folder, an .npz file, or py:module:callable), or match by the weights alone "
            "(--method weight)"
        )


def align_member(
    family: Family,
    index: int,
    *,
    method: str,
    batches: Iterable[Any] | None,
    seed: int,
    device: str,
    progress: Progress,
    options: Mapping[str, Any] | None = None,
) -> Aligned:
    """Match member ``index`` to the first one and prove that its function is kept.

    Raises
    ------
    SpecError
        If the permuted member computes something else than the member (its architecture has
        less symmetry than was derived; this is a mistake in zooalign or in an operator rule).
    """
    first, member = family.members[0], family.members[index]
    if method == "none":
        return _proved(family, index, None, progress)
    states = runnable(first.state, device), runnable(member.state, device)
    found = match(
        family.spec,
        *states,
        method=method,
        data=batches,
        module=family.module,
        seed=seed,
        progress=_counted(progress, f"{method} matching"),
        **_judged_by(family, method, batches, options or {}),
    )
    return _proved(family, index, found, progress, states)


def align_together(
    family: Family,
    *,
    method: str,
    through: str,
    batches: Iterable[Any] | None,
    seed: int,
    device: str,
    progress: Progress,
    options: Mapping[str, Any] | None = None,
) -> list[Aligned]:
    """Bring all members in the first one's order at once, and prove that their functions are kept.

    ``through`` is one of :data:`zooalign.matching.many.WAYS`; all are matched in memory. The
    objective of each is that of all, the mean over pairs.

    Raises
    ------
    MergeError
        If the method cannot do so.
    SpecError
        As :func:`align_member` does.
    """
    require_way(method, through)
    if odd := sorted(set(options or {}) - _MANY):
        raise MergeError(
            f"models matched all at once take no option '{odd[0]}'; they take "
            f"{', '.join(sorted(_MANY - {'criterion'}))}"
        )
    states = [runnable(member.state, device) for member in family.members]
    many = match_many(
        family.spec,
        states,
        method=method,
        through=through,
        data=batches,
        module=family.module,
        seed=seed,
        progress=_counted(progress, f"{method} matching"),
        **_judged_by(family, through, batches, options or {}),
    )
    return [
        _proved(
            family,
            index,
            Match(p, method, many.objective_before, many.objective_after, many.details),
            progress,
            (states[0], states[index]),
        )
        for index, p in enumerate(many.permutations)
        if index > 0
    ]


def _proved(
    family: Family,
    index: int,
    found: Match | None,
    progress: Progress,
    states: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None,
) -> Aligned:
    spec = family.spec
    first, member = family.members[0], family.members[index]
    permutation = spec.identity() if found is None else found.permutation
    diagnosis = diagnose(
        first.state,
        CastLike(member.state, first.state),
        moved_fraction=None if found is None else permutation.moved_fraction,
        free_groups=len(spec.groups),
    )
    judged = None if found is None or states is None else outcome(spec, found, *states, diagnosis)
    progress("proof", 0, 1)
    comparison = compare_functions(
        family.module,
        member.state,
        Permuted(spec, permutation, member.state),
        family.first.example_inputs(),
    )
    progress("proof", 1, 1)
    if not comparison.ok:
        raise SpecError(
            f"'{member.reference}' permuted computes something else than before (relative error "
            f"{comparison.max_relative_error:.3g}, rounding explains {comparison.tolerance:.3g}): "
            f"the spec {spec.hash[:12]} is wrong for this architecture, and nothing was written. "
            "Run `zooalign verify` on it and report what it says"
        )
    return Aligned(index, permutation, found, diagnosis, comparison, judged)


def _judged_by(
    family: Family, method: str, batches: Iterable[Any] | None, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The options, with the adapter's own loss for methods that run the midpoint on targets."""
    if method not in RUN_THE_MIDPOINT or batches is None or "criterion" in options:
        return options
    loss, _ = scoring(family.first)
    if loss is cross_entropy or next(read_batches(batches)).targets is None:
        return options
    return {**options, "criterion": loss}


def runnable(state: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    """The state dict on a device, 16-bit values as float32; float32 on the CPU stays mapped."""
    return {
        name: tensor.to(
            device=device,
            dtype=torch.float32
            if tensor.is_floating_point() and tensor.dtype.itemsize < 4
            else tensor.dtype,
        )
        for name, tensor in state.items()
    }


def _counted(progress: Progress, name: str) -> Any:
    report = stage(progress, name)
    return lambda done: report(done, 0)
