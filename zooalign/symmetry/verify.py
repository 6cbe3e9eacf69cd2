"""Is a spec right? Proved operator by operator, and the graph compared with the module itself.

The first leg checks every operator of the graph against the claimed action
(:mod:`zooalign.symmetry.proof`); the second runs graph and module on the same drawn values, as the
proof is one of the graph. Parameters are drawn: zero-initialised norms, 1e-6 layer scales and zero
biases would hide mistakes.

A spec with other groups than those derived is right if its members are members of the group that is
derived and proved.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from msgspec import structs
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.capture import Capture
from zooalign.graph.execute import evaluate
from zooalign.symmetry.classes.derive import Classes, derive_classes
from zooalign.symmetry.classes.elements import SpecClasses
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.classes.proof import prove_classes
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.drawn_inputs import drawn_inputs
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.membership import is_member
from zooalign.symmetry.module_run import apart, run_module, seeded
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.precision import tolerance, tolerance_of_one
from zooalign.symmetry.proof import Fault, Proof, Verdict, prove
from zooalign.symmetry.spec import PermutationSpec, Permuted
from zooalign.symmetry.trial import DrawnState, mixes_precisions

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """Whether a spec is right, and how far that was shown.

    Attributes
    ----------
    verdict:
        "proved": every operator keeps the claim, and the graph is what the module computes.
        "refuted": an operator does not, or the module's outputs change. "not shown": neither, for
        the reason in ``why``.
    why:
        In words, where it is not proved.
    fault:
        Where it is refuted by an operator: which one, at which tensor, axis and group.
    operators:
        How many were checked: those at which something moves, each claim once.
    members:
        Random members of the group that each of them saw: a wrong group passes with a probability
        of at most ``2 ** -members``, for values in general position.
    max_relative_error:
        The largest deviation at any operator that keeps the claim, of the outputs where the module
        was run to refute the spec.
    tolerance:
        What rounding explains in one operator, by the least precise dtype that one computes in.
    log10_order:
        Of the spec that was checked.
    classes:
        Where the spec has classes: how many groups have each. They were checked as well, by random
        elements, and the other fields speak of them too.
    """

    verdict: Verdict
    why: str
    fault: Fault | None
    operators: int
    members: int
    max_relative_error: float
    tolerance: float
    log10_order: float
    classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the spec is proved."""
        return self.verdict == "proved"


def verify(
    module: nn.Module,
    spec: PermutationSpec,
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
    members: int = 3,
    derived: Derived | None = None,
) -> Verification:
    """Prove that the permutations of a spec do not change what the module computes.

    Where the spec has ``classes``, so do random elements of these: signs, scales, linear maps.

    Parameters
    ----------
    module:
        The module; parameters may be on the meta device, buffers that are not in the state dict
        must hold their values. It is not changed, and its parameters are not read.
    example_inputs:
        Positional inputs, nested or not. Real ones are drawn, and integers that the graph shows to
        number something.
    seed:
        For parameters, inputs and permutations.
    members:
        How many random members of the group each operator sees.
    derived:
        What :func:`~zooalign.symmetry.derive_spec` gives for the module, where it is at hand.

    Raises
    ------
    TraceError
        If the module cannot be traced.
    SpecError
        If the spec is for another architecture.
    """
    allow = spec.value_dependent
    if derived is None:
        derived = derive_spec(module, example_inputs, allow_value_dependent=allow)
    if any(value is None for value in derived.traced.captured.constants.values()):
        # Tensors that the forward pass creates have no values where parameters are on meta.
        derived = derive_spec(_in_memory(module), example_inputs, allow_value_dependent=allow)
    if dict(spec.shapes) != dict(derived.spec.shapes):
        raise SpecError(
            f"the spec is for another architecture than {type(module).__name__}: its tensors have "
            "other names or shapes"
        )
    inputs = drawn_inputs(derived.traced.captured, example_inputs, seed, torch.float64)
    result = _permutations(module, spec, derived, (example_inputs, inputs), seed, members)
    if spec.classes is None or result.verdict == "refuted":
        return result
    return _with_classes(module, spec, derived, inputs, seed, result)


def _permutations(
    module: nn.Module,
    spec: PermutationSpec,
    derived: Derived,
    inputs_of: tuple[Sequence[Any], Sequence[Any]],
    seed: int,
    members: int,
) -> Verification:
    """The verdict on the permutations; inputs are the examples, and those drawn in float64."""
    captured, (example_inputs, inputs) = derived.traced.captured, inputs_of
    other = spec.hash != derived.spec.hash
    outside = _outside(spec, derived.spec, members, seed) if other else None
    if outside is not None:
        why = f"permutations of '{outside}' are not among those derived from the module's graph"
        rounding = tolerance_of_one(torch.float64)
        unproved = Verification("not shown", why, None, 0, members, 0.0, rounding, spec.log10_order)
        return _refuted_by_module(module, spec, inputs, seed, unproved)
    proof = prove(derived, DrawnState(module, seed), inputs, members=members, seed=seed)
    result = _of_proof(proof, spec)
    if other and result.verdict != "proved":
        result = replace(result, verdict="not shown", fault=None)
        return _refuted_by_module(module, spec, inputs, seed, result)
    if result.verdict == "proved":
        native = drawn_inputs(captured, example_inputs, seed, None)
        why = _not_the_module(module, captured, native, seed) or ""
        if why:
            unproved = replace(result, verdict="not shown", why=why)
            return _refuted_by_module(module, spec, inputs, seed, unproved)
    return result


def _in_memory(module: nn.Module) -> nn.Module:
    """A copy whose meta parameters are in memory that nothing is written to."""
    copied = copy.deepcopy(module)
    moved: dict[int, nn.Parameter] = {}
    for part in copied.modules():
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            if parameter.is_meta:
                empty = torch.empty_like(parameter, device="cpu")
                moved.setdefault(id(parameter), nn.Parameter(empty, parameter.requires_grad))
                setattr(part, name, moved[id(parameter)])
    return copied


def _of_proof(proof: Proof, spec: PermutationSpec) -> Verification:
    fault = proof.faults[0] if proof.faults else None
    size = fault.deviation if fault is not None else proof.max_deviation
    return Verification(
        proof.verdict,
        proof.why,
        fault,
        proof.operators,
        proof.members,
        size,
        proof.tolerance,
        spec.log10_order,
    )


# ---------------------------------------------------------------------- classes


def _with_classes(
    module: nn.Module,
    spec: PermutationSpec,
    derived: Derived,
    inputs: Sequence[Any],
    seed: int,
    result: Verification,
) -> Verification:
    """The verdict on permutations and classes: proved if those derived are, and are these."""
    assert spec.classes is not None
    result = replace(result, classes=spec.classes.summary())
    known = derive_classes(derived).within(spec.classes.symmetries)
    given = {of.group: of for of in spec.classes.groups}
    other = next((name for name, of in given.items() if not _is_part(of, known, spec)), None)
    if other is not None:
        why = f"the class of '{other}' is not the one derived from the module's graph"
        result = replace(result, verdict="not shown", why=why)
        return _classes_refuted_by_module(module, spec, inputs, seed, result)
    some = replace(known, groups=given)
    proof = prove_classes(derived, some, DrawnState(module, seed), inputs, seed=seed)
    more = _of_proof(proof, spec)
    worst = max(result.max_relative_error, more.max_relative_error)
    if more.verdict == "proved":
        operators = max(result.operators, more.operators)
        return replace(result, operators=operators, max_relative_error=worst)
    return replace(more, members=result.members, classes=result.classes)


def _is_part(of: GroupClass, known: Classes, spec: PermutationSpec) -> bool:
    """Whether a class is the derived one, or permutations alone."""
    derived = known.groups.get(of.group)
    if not (of.linear or of.scales or of.signs or of.absorbed):
        return True
    if derived is None or known.derived is None:
        return False
    same_places = known.derived.spec.by_id[of.group] == spec.by_id[of.group]
    return same_places and structs.replace(of, lowered=derived.lowered) == derived


def _classes_refuted_by_module(
    module: nn.Module,
    spec: PermutationSpec,
    inputs: Sequence[Any],
    seed: int,
    undecided: Verification,
) -> Verification:
    """Refuted if a random element of one class changes the module's outputs."""
    assert spec.classes is not None
    still = {of.group: of.within("permutations") for of in spec.classes.groups}
    state = dict(DrawnState(module, seed))
    before = run_module(module, state, inputs, dtype=torch.float64, seed=seed)
    for of in spec.classes.groups:
        alone = SpecClasses(spec, {**still, of.group: of})
        mapped = alone.apply(alone.random(seed), alone.absorbed(state))
        after = run_module(module, mapped, inputs, dtype=torch.float64, seed=seed)
        change, _ = apart(before.tensors, after.tensors)
        if change > max(tolerance(before.lowest), tolerance(after.lowest)):
            why = f"maps of class '{of.name}' of '{of.group}' change an output by {change:.1e}"
            return replace(undecided, verdict="refuted", why=why, max_relative_error=change)
    return undecided


# ---------------------------------------------------------------------- another spec


def _outside(
    spec: PermutationSpec, derived: PermutationSpec, members: int, seed: int
) -> str | None:
    """What of a spec is permuted as nothing of the derived spec is: a group, or the whole."""
    for name, permutation in _generators(spec, members, seed):
        if not is_member(derived, spec, permutation):
            return name
    return None


def _generators(
    spec: PermutationSpec, members: int, seed: int
) -> Iterator[tuple[str, Permutation]]:
    """A transposition and a random member of each group, and random members of the whole."""
    generator = np.random.default_rng(seed)
    still, drawn = spec.identity().indices, spec.random(seed).indices
    for group in spec.groups:
        if group.size < 2:
            continue
        index = still[group.id].copy()
        context = tuple(int(generator.integers(n)) for n in group.contexts)
        first, second = generator.choice(group.size, 2, replace=False)
        index[(*context, first)], index[(*context, second)] = second, first
        for moved in (index, drawn[group.id]):
            yield group.id, Permutation(spec.hash, {**still, group.id: moved})
    for number in range(members):
        yield "the whole spec", spec.random(seed + number)


def _refuted_by_module(
    module: nn.Module,
    spec: PermutationSpec,
    inputs: Sequence[Any],
    seed: int,
    undecided: Verification,
) -> Verification:
    """Refuted if the module's outputs change under the spec; otherwise as it was."""
    state = DrawnState(module, seed)

    def run(permutation: Permutation | None) -> Any:
        values = state if permutation is None else Permuted(spec, permutation, state)
        try:
            return run_module(module, values, inputs, dtype=torch.float64, seed=seed)
        except RuntimeError as error:
            if not mixes_precisions(error):
                raise
            single = tuple(x.float() if _is_real(x) else x for x in inputs)
            return run_module(module, values, single, dtype=torch.float32, seed=seed)

    before = run(None)
    for name, permutation in _generators(spec, undecided.members, seed):
        after = run(permutation)
        change, place = apart(before.tensors, after.tensors)
        if change > max(tolerance(before.lowest), tolerance(after.lowest)):
            output = f"output '{place}'" if place else "the output"
            why = f"permuting '{name}' changes {output} of the module by {change:.1e} of itself"
            return replace(undecided, verdict="refuted", why=why, max_relative_error=change)
    return undecided


def _is_real(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


# ---------------------------------------------------------------------- the graph and the module


def _not_the_module(
    module: nn.Module, captured: Capture, inputs: Sequence[Any], seed: int
) -> str | None:
    """Why the graph is not what the module computes on drawn values, if it is not."""
    state = DrawnState(module, seed, native=True)
    try:
        expected = run_module(module, state, inputs, seed=seed)
    except Exception as error:  # whatever a module raises
        lines = str(error).splitlines() or [""]
        return (
            f"the module does not run on drawn values, so that its graph cannot be compared with "
            f"it: {type(error).__name__}: {lines[0][:200]}"
        )
    with seeded(seed):
        outputs = evaluate(captured, state, inputs)
    given = [value for value in outputs if isinstance(value, Tensor)]
    wanted = expected.tensors[: len(given)]
    if len(wanted) < len(given):
        return f"the graph has {len(given)} outputs, the module {len(expected.tensors)}"
    change, place = apart(
        wanted, [(name, value) for (name, _), value in zip(wanted, given, strict=True)]
    )
    if change > tolerance(expected.lowest):
        return (
            f"the module's output {place or 0} is {change:.1e} of itself from that of its graph on "
            "drawn inputs: a step depends on values, or on something outside of the graph"
        )
    return None
