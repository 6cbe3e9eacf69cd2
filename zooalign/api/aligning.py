"""Match two models in memory and reorder one's units to match the other's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.api.arguments import (
    Inputs,
    ModelLike,
    floats_of,
    network_of,
    state_of,
)
from zooalign.api.checked import checked_arguments
from zooalign.api.names import ALL_KINDS, require_one_configuration, tensors_by_name
from zooalign.api.symmetries import spec_for
from zooalign.errors import ArgumentError
from zooalign.graph.capture import captured_once
from zooalign.graph.wrappers import unwrapped
from zooalign.keywords import settings_and_options
from zooalign.kinds import Symmetries
from zooalign.matching import Match
from zooalign.matching import match as match_states
from zooalign.matching.solvers import DEFAULT, told
from zooalign.merging.merge import prove
from zooalign.merging.outcome import Diagnosis, Outcome, diagnose, outcome
from zooalign.progress import StepProgress, drawn_in_notebooks
from zooalign.symmetry import Element, Permutation, PermutationSpec
from zooalign.symmetry.same_function import Comparison
from zooalign.text import html_table

__all__ = ["Alignment", "align", "match"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """A model whose units were reordered to match another's.

    Attributes
    ----------
    state_dict:
        The model's tensors, permuted: new ones, of the dtypes and on the devices they had.
    permutation:
        What was applied, a member of the group of ``spec``; with more than permutations the first
        part of ``element``.
    spec:
        The architecture's permutation spec.
    match:
        How the permutation was found.
    verification:
        Proof that the function is the same: ``max_relative_error`` of the outputs, run in
        float64, and the ``tolerance`` that rounding explains; of an element also the ``rounding``
        of its weights when they were stored.
    diagnosis:
        Whether there was anything to align; its ``verdict`` is a sentence.
    outcome:
        Whether alignment helped, with the numbers that say so.
    """

    state_dict: dict[str, Tensor]
    permutation: Permutation
    spec: PermutationSpec
    match: Match
    verification: Comparison
    diagnosis: Diagnosis
    outcome: Outcome

    @property
    def element(self) -> Element | None:
        """What was applied, if more than permutations were asked for."""
        return self.match.element

    def __repr__(self) -> str:
        return f"<Alignment of {len(self.state_dict)} tensors, {self.match!r}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        match, checked = self.match, self.verification
        rows = [
            ("method", match.method),
            ("units that move", f"{match.moved_fraction:.1%}"),
            *(("match", line) for line in _told(match)),
            (
                "error of the function",
                f"{checked.max_relative_error:.1e} (rounding explains {checked.tolerance:.1e})",
            ),
            ("diagnosis", self.diagnosis.verdict),
            ("outcome", self.outcome.verdict),
        ]
        return html_table("Alignment", ("", ""), rows)


def _told(match: Match) -> tuple[str, ...]:
    return told(match.method, match.objective_before, match.objective_after, match.details)


@drawn_in_notebooks
@checked_arguments
def match(
    spec: PermutationSpec,
    target: ModelLike,
    source: ModelLike,
    *,
    method: str = DEFAULT,
    data: Iterable[object] | None = None,
    module: ModelLike | None = None,
    **options: Any,
) -> Match:
    """Find the permutation that reorders ``source``'s units to match ``target``'s.

    It runs where ``target`` is; 16-bit weights are computed with as float32. Neither is changed.

    Parameters
    ----------
    spec:
        The architecture's permutation spec, of :func:`zooalign.extract_spec`.
    target, source:
        Modules, opened models (:func:`zooalign.zoo.models.open_model`) or state dicts.
    method:
        ``auto`` (several, and the midpoint's loss on ``data`` decides), ``activation``,
        ``refine``, ``blend`` or ``learned``, which need ``data``; ``weight``, ``frank-wolfe``; or
        the name of a plugin's solver. ``docs/matching.md`` compares them.
    data:
        Batches for methods that run the models: inputs, or pairs (inputs, targets), such as a
        ``DataLoader`` gives, or mappings of keyword inputs with ``labels``. A few hundred examples
        usually suffice. ``auto`` and ``learned`` look at targets where there are some
        (``labels=False``: they do not).
    module:
        The architecture, where only state dicts are given.
    options:
        ``seed`` (0), for methods that draw random numbers; ``progress``, called with the number of
        batches or sweeps done; and the method's own: ``kind="covariance"`` for activations,
        ``starts=5`` for weights, ``blend=0.3``, ``steps=300`` for learned permutations.
        ``symmetries`` (``permutations``): ``signed``, ``monomial`` or ``linear`` go on with signs,
        scales, and rotations and invertible maps of units. The spec must have been extracted as
        far. ``data`` is read once more for it, and judges what came of it.

    Returns
    -------
    Match
        Its ``permutation`` is for ``spec.apply(permutation, source_state_dict)``; with more than
        permutations its ``element`` is for :meth:`zooalign.symmetry.SpecClasses.apply`.

    Raises
    ------
    MergeError
        For an unknown method or option, missing data, or models of another architecture.
    SpecError
        If the spec does not go as far as ``symmetries``.
    DataError
        If the data is empty or of another form.
    """
    network = None
    if any(not isinstance(model, Mapping) for model in (module or {}, target, source)):
        network = network_of(module, target, source, data=data)
    states = floats_of([state_of(model, network).tensors for model in (target, source)])
    return match_states(
        spec,
        *states,
        method=method,
        data=data if network is None else network.batches_of(data),
        module=None if network is None else network.module,
        **options,
    )


@dataclass(frozen=True)
class _AlignSettings:
    method: str = DEFAULT
    symmetries: Symmetries = "permutations"
    inplace: bool = False
    allow_value_dependent: bool = False
    progress: StepProgress | None = None


@drawn_in_notebooks
@checked_arguments
@captured_once()
def align(
    model: ModelLike,
    to: ModelLike,
    *,
    data: Iterable[object] | None = None,
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: ModelLike | None = None,
    **settings: Any,
) -> Alignment:
    """Reorder the units of ``model`` to match those of ``to``; its function stays the same.

    Parameters
    ----------
    model, to:
        Modules (also in a wrapper, such as ``DataParallel``), opened models
        (:func:`zooalign.zoo.models.open_model`), or state dicts (then ``module`` gives the
        architecture). Neither is changed.
    data:
        As for :func:`match`.
    example_inputs:
        A tensor, positional inputs, or a mapping of keyword inputs to trace the module with;
        default: rows of ``data``.
    spec:
        The permutation spec, where it is at hand.
    module:
        The architecture, where only state dicts are given.
    settings:
        ``method``, ``seed``, ``progress`` and the method's options as for :func:`match`;
        ``symmetries`` (``permutations``) as for :func:`match`: the result then is the model under
        an ``element``, with the target's norm weights where linear maps need these to be one;
        ``allow_value_dependent`` as for :func:`zooalign.extract_spec`; and
        ``inplace`` (False): load the result into ``model`` too, which must be a module then. An
        optimizer's state follows by :func:`zooalign.apply_to_optimizer`.

    Raises
    ------
    SpecError
        If the permuted model computes something else (a mistake in zooalign or in an operator
        rule of a plugin). Nothing is loaded then.
    TraceError, DataError, MergeError
        As for :func:`zooalign.extract_spec` and :func:`match`.

    Examples
    --------
    >>> import torch, zooalign
    >>> def make(seed):
    ...     torch.manual_seed(seed)
    ...     nn = torch.nn
    ...     return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    >>> batches = [torch.randn(64, 8)]
    >>> aligned = zooalign.align(make(0), to=make(1), data=batches)
    >>> aligned.match.objective_after > aligned.match.objective_before
    True
    >>> aligned.verification.max_relative_error < aligned.verification.tolerance
    True
    """
    chosen, options = settings_and_options(_AlignSettings, settings)
    if chosen.inplace and not isinstance(model, nn.Module):
        raise ArgumentError("inplace=True loads the result into the model, which must be a module")
    require_one_configuration((model, to), module)
    network = network_of(module, model, to, data=data, example_inputs=example_inputs)
    inputs = network.inputs(example_inputs, data)
    allow, symmetries = chosen.allow_value_dependent, chosen.symmetries
    spec = spec_for(spec, network.module, inputs, allow, symmetries)
    state = state_of(model, network)
    opened = [state, state_of(to, network)]
    source, target = tensors_by_name((model, to), opened, network, inputs, ALL_KINDS)
    states = floats_of([target, source])
    matched = match_states(
        spec,
        *states,
        method=chosen.method,
        data=network.batches_of(data),
        module=network.module,
        progress=chosen.progress,
        symmetries=symmetries,
        **options,
    )
    permutation = matched.permutation
    diagnosis = diagnose(
        *states, moved_fraction=permutation.moved_fraction, free_groups=len(spec.groups)
    )
    judged = outcome(spec, matched, states[0], states[1], diagnosis)
    comparison = prove(network.module, spec, permutation, source, inputs, element=matched.element)
    moved = dict(matched.applied(spec, source))
    # What does not move is not to share memory with the model.
    aligned = {n: t.clone() if t is source[n] else t for n, t in moved.items()} | state.beside
    if chosen.inplace and isinstance(model, nn.Module):
        unwrapped(model).load_state_dict(aligned)
    return Alignment(aligned, permutation, spec, matched, comparison, diagnosis, judged)
