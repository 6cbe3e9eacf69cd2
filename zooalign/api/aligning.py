"""Match two models in memory and bring one in the order of the other."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.api.arguments import Inputs, Model, inputs_from, module_of, state_of
from zooalign.api.symmetries import extract_spec
from zooalign.graph.lazy_state import device_of, float_state
from zooalign.matching import Match
from zooalign.matching import match as match_states
from zooalign.matching.solvers import DEFAULT
from zooalign.merging.diagnose import Diagnosis, diagnose
from zooalign.merging.merge import prove
from zooalign.merging.outcome import Outcome, outcome
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.same_function import Comparison

__all__ = ["Alignment", "align", "match"]

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Alignment:
    """A model brought in the order of another.

    Attributes
    ----------
    state_dict:
        The model's tensors, permuted: new ones, of the dtypes and on the devices they had.
    permutation:
        What was applied, a member of the group of ``spec``.
    spec:
        The architecture's permutation spec.
    match:
        How the permutation was found.
    verification:
        Proof that the function is the same: ``max_relative_error`` of the outputs, run in
        float64, and the ``tolerance`` that rounding explains.
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


def match(
    spec: PermutationSpec,
    target: Model,
    source: Model,
    *,
    method: str = DEFAULT,
    data: Iterable[Any] | None = None,
    module: nn.Module | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Match:
    """The permutation of ``source`` that brings its units in the order of ``target``'s.

    It runs where ``target`` is; 16-bit weights are computed with as float32. Neither is changed.

    Parameters
    ----------
    spec:
        The architecture's permutation spec, of :func:`zooalign.extract_spec`.
    target, source:
        Modules or state dicts.
    method:
        ``auto`` (several, and the midpoint's loss on ``data`` decides), ``activation``,
        ``refine``, ``blend`` or ``learned``, which need ``data``; ``weight``, ``frank-wolfe``; or
        the name of a plugin's solver. ``docs/matching.md`` compares them.
    data:
        Batches for methods that run the models: inputs, or pairs (inputs, targets), such as a
        ``DataLoader`` gives. A few hundred examples usually suffice. ``auto`` and ``learned`` look
        at targets where there are some (``labels=False``: they do not).
    module:
        The architecture, where only state dicts are given.
    seed:
        For methods that draw random numbers.
    progress:
        Called with the number of batches (or sweeps) done.
    options:
        Passed to the method: ``kind="covariance"`` for activations, ``starts=5`` for weights,
        ``blend=0.3``, ``steps=300`` for learned permutations.

    Returns
    -------
    Match
        Its ``permutation`` is for ``spec.apply(permutation, source_state_dict)``.

    Raises
    ------
    MergeError
        For an unknown method, missing data, or models of another architecture.
    DataError
        If the data is empty or of another form.
    """
    states = state_of(target), state_of(source)
    known = next((m for m in (module, target, source) if isinstance(m, nn.Module)), None)
    return match_states(
        spec,
        *(float_state(state, device_of(states[0])) for state in states),
        method=method,
        data=data,
        module=known,
        seed=seed,
        progress=progress,
        **options,
    )


def align(
    model: Model,
    to: Model,
    *,
    data: Iterable[Any] | None = None,
    method: str = DEFAULT,
    example_inputs: Inputs | None = None,
    spec: PermutationSpec | None = None,
    module: nn.Module | None = None,
    inplace: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Alignment:
    """Bring the units of ``model`` in the order of ``to``'s; its function stays the same.

    Parameters
    ----------
    model, to:
        Modules, or state dicts (then ``module`` gives the architecture). Neither is changed.
    data, method, seed, progress, options:
        As for :func:`match`.
    example_inputs:
        A tensor or positional inputs to trace the module with; default: rows of ``data``.
    spec:
        The permutation spec, where it is at hand.
    inplace:
        Load the result into ``model`` too, which must be a module then. An optimizer's state does
        not follow: align before the optimizer is made.

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
    >>> found = zooalign.align(make(0), to=make(1), data=batches)
    >>> found.match.objective_after > found.match.objective_before
    True
    >>> found.verification.max_relative_error < found.verification.tolerance
    True
    """
    if inplace and not isinstance(model, nn.Module):
        raise TypeError("inplace=True loads the result into the model, which must be a module")
    architecture = module_of(module, model, to)
    inputs = inputs_from(example_inputs, data)
    spec = spec if spec is not None else extract_spec(architecture, inputs)
    target, source = state_of(to), state_of(model)
    found = match(
        spec,
        target,
        source,
        method=method,
        data=data,
        module=architecture,
        seed=seed,
        progress=progress,
        **options,
    )
    floats = [float_state(state, device_of(target)) for state in (target, source)]
    diagnosis = diagnose(
        *floats,
        moved_fraction=found.permutation.moved_fraction,
        free_groups=len(spec.groups),
    )
    judged = outcome(spec, found, floats[0], floats[1], diagnosis)
    comparison = prove(architecture, spec, found.permutation, source, inputs)
    moved = spec.apply(found.permutation, source)
    # What does not move is not to share memory with the model.
    state = {n: t.clone() if t is source[n] else t for n, t in moved.items()}
    if inplace:
        assert isinstance(model, nn.Module)
        model.load_state_dict(state)
    return Alignment(state, found.permutation, spec, found, comparison, diagnosis, judged)
