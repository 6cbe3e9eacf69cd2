"""Matching the members of a family to the first one, with its diagnosis and its proof."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zooalign.errors import DataError, MergeError, ZooalignWarning
from zooalign.graph.batches import read_batches
from zooalign.graph.lazy_state import CastLike, State, StateView, Widened, float_state
from zooalign.matching import Match, match, match_many, solvers
from zooalign.matching.many import ManyOptions, require_way
from zooalign.matching.measures import task_loss
from zooalign.matching.solvers import told
from zooalign.merging.merge import prove
from zooalign.merging.outcome import Diagnosis, Outcome, diagnose, outcome
from zooalign.pipelines.plan import activation_room
from zooalign.progress import Progress
from zooalign.release.calibration import describe_data, open_for, scoring
from zooalign.release.opening import Family, open_family
from zooalign.release.provenance import AlignmentRecord
from zooalign.release.settings import AlignSettings, Naming
from zooalign.release.versions import versions
from zooalign.symmetry import (
    Element,
    Mapped,
    Permutation,
    PermutationSpec,
    Permuted,
    SpecClasses,
)
from zooalign.symmetry.same_function import Comparison
from zooalign.zoo.data import Batches, share_rows

__all__ = ["Aligned", "OpenedInputs", "align_members", "of_spec", "open_inputs", "require_data"]

SAME_DATA = (
    "--evaluate has rows that units are matched on (--data), so what it measures is optimistic; "
    "evaluate on others, e.g. file.npz?slice=1000:2000"
)
# Options of match_many that are a caller's to set.
_MANY = ManyOptions.options().keys() - {"method", "through", "references"}


@dataclass(frozen=True)
class Aligned:
    """A member of a family, with the permutation that makes its units match the first one's.

    ``match`` is None where nothing was matched (method ``none``).
    """

    index: int
    permutation: Permutation
    match: Match | None
    diagnosis: Diagnosis
    comparison: Comparison
    outcome: Outcome | None = None

    @property
    def told(self) -> tuple[str, ...]:
        """How the match went, in lines for people."""
        match = self.match
        if match is None:
            return ()
        return told(match.method, match.objective_before, match.objective_after, match.details)

    @property
    def moved(self) -> Permutation | Element:
        """What is applied: the permutation, or the element that begins with it."""
        element = None if self.match is None else self.match.element
        return self.permutation if element is None else element

    def applied(self, spec: PermutationSpec, state: State) -> StateView:
        """A member's state dict under it, tensor by tensor; the spec may be of a stored form."""
        if isinstance(self.moved, Element):
            return Mapped(SpecClasses.of(spec, self.moved.symmetries), self.moved, state)
        return Permuted(spec, of_spec(spec, self.permutation), state)

    def record(self, file: str) -> AlignmentRecord:
        """For provenance; ``file`` is the permutation's name."""
        match = self.match
        rounding = (
            {"rounding": self.comparison.rounding} if self.moved is not self.permutation else {}
        )
        return AlignmentRecord(
            source=self.index,
            permutation=file,
            moved_fraction=self.permutation.moved_fraction,
            objective_before=match.objective_before if match else 0.0,
            objective_after=match.objective_after if match else 0.0,
            max_relative_error=self.comparison.max_relative_error,
            tolerance=self.comparison.tolerance,
            diagnosis=diagnosis_to_dict(self.diagnosis, self.outcome),
            details={**match.details, **rounding} if match else {},
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
    """Raise DataError where the method runs the models and no data was given."""
    solver = solvers().get(method)
    if solver is not None and "data" in solver.needs and data is None:
        raise DataError(
            f"{method} matching runs both models on data, and none was given: add --data (an "
            "image folder, an .npz file, or py:module:callable), or match by the weights alone "
            "(--method weight)"
        )


@dataclass(frozen=True)
class OpenedInputs:
    """What an alignment or a merge reads: models, and data to match on and to score on."""

    family: Family
    calibration: Batches | None
    scored: Batches | None

    def record(self, settings: AlignSettings) -> dict[str, Any]:
        """What the provenance of an alignment and of a merge have in common."""
        architecture, data = self.family.first.architecture, self.calibration
        return {
            "architecture": {"library": architecture.library, "name": architecture.name},
            "method": settings.method,
            "seed": settings.seed,
            "data": None if data is None else describe_data(data, settings.loading),
            "spec_hash": self.family.spec.hash,
            "log10_order": self.family.spec.log10_order,
            "versions": versions(),
            "settings": settings.record(),
        }


def open_inputs(references: Sequence[str], settings: AlignSettings, naming: Naming) -> OpenedInputs:
    """Open the models of ``references``, named as ``naming`` says, and the data of ``settings``.

    Warns
    -----
    ZooalignWarning
        If it is to be evaluated on rows that it is matched on.
    """
    if settings.evaluate and settings.data and share_rows(settings.evaluate, settings.data):
        warnings.warn(SAME_DATA, ZooalignWarning, stacklevel=3)
    family = open_family(references, settings, naming)
    calibration, scored = (
        None if text is None else open_for(family.first, text, settings.loading)
        for text in (settings.data, settings.evaluate)
    )
    return OpenedInputs(family, calibration, scored)


def align_members(
    family: Family,
    settings: AlignSettings,
    batches: Iterable[Any] | None,
    progress: Progress,
    *,
    through: str = "reference",
) -> list[Aligned]:
    """Match all members but the first to it, and prove that their functions are kept.

    Methods that compare weights alone read them tensor by tensor; others hold them in memory.
    ``through`` is ``reference`` (each is matched to the first alone) or one of
    :data:`zooalign.matching.many.WAYS`: then all are matched at once, in memory, and the objective
    of each is that of all, the mean over pairs.

    Raises
    ------
    MergeError
        If the method cannot do so.
    SpecError
        If a permuted member computes something else than the member (its architecture has
        less symmetry than was derived; this is a mistake in zooalign or in an operator rule).
    """
    method, device, options = settings.method, settings.device, settings.options
    arguments: dict[str, Any] = {
        "method": method,
        "data": batches,
        "module": family.module,
        "seed": settings.seed,
        "progress": lambda done: progress(f"{method} matching", done, 0),
        "symmetries": settings.symmetries,
    }
    solver = solvers().get(method)
    if solver is not None and "data" in solver.needs:
        family.accept_different(settings.allow_different_configs, f"{method} matching")
    target = family.members[0].state
    if through != "reference":
        require_way(method, through)
        if arguments.pop("symmetries") != "permutations":
            raise MergeError(
                f"models matched all at once (--through {through}) are permuted only: leave "
                "--symmetries at permutations, or match each to the first (--through reference)"
            )
        if unknown := sorted(set(options) - _MANY):
            raise MergeError(
                f"models matched all at once take no option '{unknown[0]}'; they take "
                f"{', '.join(sorted(_MANY - {'criterion'}))}"
            )
        arguments |= _judged_by(family, through == "auto", batches, settings)
        sources = [member.state for member in family.members]
        states = [float_state(source, device) for source in sources]
        many = match_many(family.spec, states, through=through, **arguments)
        score = many.objective_before, many.objective_after, many.details
        matches = [Match(p, method, *score) for p in many.permutations]
        return [
            _proved(family, index, (target, sources[index]), matches[index], progress, device)
            for index in range(1, len(sources))
        ]
    # A method with a criterion judges by a loss on targets, in place of which ours can be given.
    by_loss = solver is not None and "criterion" in solver.options()
    arguments |= _judged_by(family, by_loss, batches, settings)
    room = activation_room(family, settings)
    arguments |= {} if room is None else {"memory": room}
    aligned = []
    for index, member in enumerate(family.members[1:], start=1):
        source, solution = member.state, None
        if method != "none":
            ends = [_computed_with(state, settings) for state in (target, source)]
            solution = match(family.spec, *ends, **arguments)
        aligned.append(_proved(family, index, (target, source), solution, progress, device))
    return aligned


def _computed_with(state: State, settings: AlignSettings) -> State:
    """A state dict as a method reads it: as it lies in its file, widened when read, in memory."""
    solver, device = solvers().get(settings.method), settings.device
    in_memory = solver is None or not solver.reads_by_tensor
    if device != "cpu" or in_memory or settings.symmetries != "permutations":
        return float_state(state, device)
    assert solver is not None
    return Widened(state, device) if "module" in solver.needs else state


def _proved(
    family: Family,
    index: int,
    state_dicts: tuple[State, State],
    solution: Match | None,
    progress: Progress,
    device: str,
) -> Aligned:
    spec, (target, source) = family.spec, state_dicts
    permutation = spec.identity() if solution is None else solution.permutation
    diagnosis = diagnose(
        target,
        CastLike(source, target),
        moved_fraction=None if solution is None else permutation.moved_fraction,
        free_groups=len(spec.groups),
    )
    result = None
    if solution is not None:
        on_cpu = device == "cpu"
        a, b = (state if on_cpu else float_state(state, device) for state in state_dicts)
        result = outcome(spec, solution, a, b, diagnosis)
    progress("proof", 0, 1)
    element = None if solution is None else solution.element
    comparison = _proof(family, index, permutation, element, source)
    progress("proof", 1, 1)
    return Aligned(index, permutation, solution, diagnosis, comparison, result)


def _proof(
    family: Family, index: int, permutation: Permutation, element: Element | None, state: State
) -> Comparison:
    """A member with its own labels and tokens computes permuted what it computes."""
    member, (module, spec) = family.members[index], family.stored_forms[index]
    if member.changes:
        state = member.stored_state
    inputs = member.stored.example_inputs()
    name = member.reference
    permutation = of_spec(spec, permutation)
    return prove(module, spec, permutation, state, inputs, element=element, name=name)


def of_spec(spec: PermutationSpec, permutation: Permutation) -> Permutation:
    """The permutation for the same groups where fixed axes have other sizes.

    Raises
    ------
    SpecError
        The groups are not the same.
    """
    moved = Permutation(spec.hash, permutation.indices)
    spec.check(moved)
    return moved


def _judged_by(
    family: Family, by_loss: bool, batches: Iterable[Any] | None, settings: AlignSettings
) -> Mapping[str, Any]:
    """The matching options, with the loss by which merged networks are judged where one is."""
    options = settings.options
    if not by_loss or batches is None or "criterion" in options:
        return options
    loss, _ = scoring(family.first, settings.measuring)
    if loss is task_loss or next(read_batches(batches)).targets is None:
        return options
    return {**options, "criterion": loss}
