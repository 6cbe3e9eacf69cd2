"""The way from a module to its permutation spec, in one call."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import Any

from torch import fx, nn

from zooalign.errors import TraceError
from zooalign.graph.build import trace
from zooalign.graph.capture import Capture, capture
from zooalign.graph.registry import OperatorRule, collect, rules_problem
from zooalign.graph.sizes import Place, enlarged, single_axes, takes
from zooalign.hooks.manager import ALLOW_LIST, items_of
from zooalign.kinds import Symmetries
from zooalign.operators import FAMILIES
from zooalign.symmetry.classes.proved import with_classes
from zooalign.symmetry.contract import Contract, contract_of
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.proved import costs_less_than_the_trace, proved
from zooalign.symmetry.spec import PermutationSpec

__all__ = [
    "Captured",
    "at_all_sizes",
    "capture_all",
    "derive_spec",
    "extract_spec",
    "operator_rules",
]


def operator_rules() -> Mapping[str, OperatorRule]:
    """The operator rules of zooalign and of its plugins by operator name; plugins' win.

    Raises
    ------
    PluginError
        If a plugin gives something else than modules with rules.
    """
    return _rules(os.environ.get(ALLOW_LIST))


@lru_cache(maxsize=8)
def _rules(allowed: str | None) -> Mapping[str, OperatorRule]:
    modules = (module for _, module in items_of("zooalign_operators", rules_problem))
    return MappingProxyType(collect(*FAMILIES, *modules))


@dataclass(frozen=True)
class Captured:
    """A module's computation on its example inputs, and at other sizes of axes of one position.

    ``contract`` says what a spec holds for that is derived from it.
    """

    graph: Capture
    also: tuple[Capture, ...]
    contract: Contract


def capture_all(
    module: nn.Module, example_inputs: Sequence[Any], *, allow_value_dependent: bool = False
) -> Captured:
    """Capture a module on its example inputs.

    Where an axis of these has one position, it is captured with several too, if it takes them:
    at most two captures in all where the module takes several along all such axes.

    Raises
    ------
    TraceError
        As :func:`zooalign.graph.capture.capture`.
    """
    allow = allow_value_dependent
    graph = capture(module, example_inputs, allow_value_dependent=allow)
    single = single_axes(example_inputs)
    also, varying = None, single
    if single:
        also = _larger(module, example_inputs, single, allow)
        if also is None and len(single) > 1:
            varying = takes(module, example_inputs, single)
            also = _larger(module, example_inputs, varying, allow) if varying else None
    contract = contract_of(example_inputs, graph.decisions, varying if also else (), single)
    return Captured(graph, () if also is None else (also,), contract)


def _larger(
    module: nn.Module, inputs: Sequence[Any], places: Sequence[Place], allow: bool
) -> Capture | None:
    try:
        return capture(module, enlarged(module, inputs, places), allow_value_dependent=allow)
    except TraceError:
        return None


def derive_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, OperatorRule] | None = None,
    allow_value_dependent: bool = False,
    symmetries: Symmetries = "permutations",
    prove: bool | None = False,
) -> Derived:
    """As :func:`extract_spec`, with the graph the spec was read from; not proved by default."""
    captured = capture_all(module, example_inputs, allow_value_dependent=allow_value_dependent)
    rules = operator_rules() if rules is None else rules
    derived = derive(trace(captured.graph, rules), architecture or type(module).__name__)
    derived = at_all_sizes(derived, captured, rules)
    if costs_less_than_the_trace(derived) if prove is None else prove:
        derived = proved(module, derived, example_inputs)
    return with_classes(module, derived, example_inputs, symmetries, prove=prove)


def at_all_sizes(
    derived: Derived, captured: Captured, rules: Mapping[str, OperatorRule]
) -> Derived:
    """What was derived from the graph alone, held to the other sizes too, with its contract.

    It stays as it is, down to the order of its groups, where those sizes alone have the same ones.
    Otherwise, what all sizes say together is derived.
    """
    name = derived.spec.architecture
    alone = [derive(trace(other, rules), name) for other in captured.also]
    if any(other.spec.by_id != derived.spec.by_id for other in alone):
        derived = derive(trace(captured.graph, rules, captured.also), name)
    elif not all(map(_same_steps, alone, repeat(derived))):
        derived = replace(derived, other_sizes=captured.also)
    return replace(derived, spec=replace(derived.spec, contract=captured.contract))


def _same_steps(first: Derived, second: Derived) -> bool:
    """Whether two graphs have the same operators on the same operands, of whatever sizes."""
    one, other = (d.traced.captured.graph.nodes for d in (first, second))
    return [_step(node) for node in one] == [_step(node) for node in other]


def _step(node: fx.Node) -> tuple[str, str, list[str]]:
    return node.name, str(node.target), [part.name for part in node.all_input_nodes]


def extract_spec(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    architecture: str = "",
    rules: Mapping[str, OperatorRule] | None = None,
    allow_value_dependent: bool = False,
    symmetries: Symmetries = "permutations",
    prove: bool | None = None,
) -> PermutationSpec:
    """Derive the permutation symmetries of a module from its computation.

    Parameters
    ----------
    module:
        Any module that ``torch.export`` can trace. Parameters may be on the meta device: no
        weight is read or allocated. It is traced in eval mode and left as it was.
    example_inputs:
        Positional inputs; only shapes and dtypes matter. Along axes of one position the module is
        traced with several too, where it takes them: what holds for a batch of one row or one
        token alone is no symmetry. Where it does not, the spec's ``contract`` says so.
    architecture:
        A name for people.
    rules:
        Operator rules by name, instead of those of zooalign and its plugins.
    allow_value_dependent:
        Accept a module in which values of inputs decide how the forward pass goes on (lengths, a
        mask): the spec then holds for inputs that take the same way as the example inputs.
    symmetries:
        How far they go: only permutations; also changes of sign; also scales ("monomial"); also
        rotations and invertible maps ("linear"). Then the spec's ``classes`` say which of these
        each group has.
    prove:
        Whether each operator is checked with numbers: what one refutes is frozen. By default it is
        done where it costs less than the trace. The spec's ``proof`` says what was found.

    Returns
    -------
    PermutationSpec
        Sound by construction: what is not understood is frozen and reported.

    Raises
    ------
    TraceError
        If the module cannot be captured, or values of its inputs decide.
    SpecError
        If operators go on to refute what is derived.

    Examples
    --------
    >>> import torch
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> spec = extract_spec(mlp, (torch.zeros(1, 4),))
    >>> [(g.id, g.structure) for g in spec.groups]
    [('0.weight:0', 'S_8')]
    """
    return derive_spec(
        module,
        example_inputs,
        architecture=architecture,
        rules=rules,
        allow_value_dependent=allow_value_dependent,
        symmetries=symmetries,
        prove=prove,
    ).spec
