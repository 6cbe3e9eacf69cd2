"""Check the rule of an operator against the operator: its claim is tried on values.

A rule states how operands and results are permuted together. For one call, with the index sets of
its operands given (:class:`Call`), the claim of the rule alone is solved, members of the claimed
group are drawn, operands are permuted by them, and the operator is run again: its results must be
the permuted results. Plugins can check their own rules with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from zooalign.errors import SpecError
from zooalign.graph.arguments import boolean, dense
from zooalign.graph.index_sets import Axis, IndexSets
from zooalign.graph.operator import Operator, Tensor, Values
from zooalign.graph.registry import OperatorRule, RuleFault, applied, knows_labels
from zooalign.symmetry.action import Action, Move, action_of
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.solve import solve

__all__ = ["Call", "Named", "Outcome", "check"]

#: An axis as a product of sets, each with a name and a size; the same name is the same set.
Named = tuple[tuple[str, int], ...]

_TOLERANCE = 1e-9
_COARSE = 1e-4
_HUGE = 1e9
_CHOOSING = ("topk", "argmax", "argmin")


@dataclass(frozen=True)
class Call:
    """One call of an operator on values.

    ``arguments`` are by name in the operator's schema; the same tensor twice is one operand.
    ``axes`` has, by ``id``, the sets of each tensor's axes, ``labels`` those whose positions its
    values number.
    """

    target: Any
    arguments: Mapping[str, Any]
    axes: Mapping[int, tuple[Named, ...]]
    labels: Mapping[int, Named] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{name}={self._form(value)}" for name, value in self.arguments.items()]
        return f"{self.target}({', '.join(words)})"

    def _form(self, value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._form, value))}]"
        if not isinstance(value, torch.Tensor):
            return repr(value)
        names = ["*".join(name for name, _ in axis) or "-" for axis in self.axes[id(value)]]
        sizes = [f"{n}:{size}" for n, size in zip(names, value.shape, strict=True)]
        numbers = "*".join(name for name, _ in self.labels.get(id(value), ()))
        return f"<{' '.join(sizes)}{f' numbers {numbers}' if numbers else ''}>"


@dataclass(frozen=True)
class Outcome:
    """What came of a check: what is wrong, or nothing; and how much was claimed at all.

    ``claimed`` is log10 of the order of the claimed group, over all sets of units of the call.
    """

    wrong: str = ""
    fault: str = ""
    moves: int = 0
    claimed: float = 0.0


def check(
    call: Call,
    rule: OperatorRule,
    *,
    seed: int = 0,
    members: int = 2,
    sets: IndexSets | None = None,
) -> Outcome:
    """Try the claim of a rule about one call, on members of the claimed group drawn from ``seed``.

    Returns
    -------
    With ``fault`` where the rule does not cover the call: then nothing is claimed.
    """
    sets = IndexSets() if sets is None else sets
    tensors = _tensors_of(sets, call)
    before = _run(call.target, call.arguments)
    if any(_is_degenerate(value) for value in before):
        return Outcome()
    op = Operator(
        sets,
        str(call.target),
        "call",
        _completed(call, tensors),
        [tuple(value.shape) for value in before],
        _values(call),
    )
    try:
        if not knows_labels(rule):
            for operand in op.operands():
                sets.fix(operand.labels, op.cause("index"))
        claimed = applied(rule, op)
    except RuleFault as fault:
        return Outcome(fault=str(fault))
    results = [] if claimed is None else claimed if isinstance(claimed, Sequence) else [claimed]
    action = action_of(sets, solve(sets))
    order = action.spec.log10_order
    moves = 0
    try:
        for permutation in _permutations(action, members, seed):
            moves += 1
            wrong = _compared(call, tensors, before, results, action.move(permutation))
            if wrong:
                return Outcome(f"{call}: {wrong}", moves=moves, claimed=order)
    except SpecError as error:
        return Outcome(f"{call}: {error}", moves=moves, claimed=order)
    return Outcome(moves=moves, claimed=order)


def _completed(call: Call, tensors: Mapping[int, Tensor]) -> dict[str, Any]:
    """All arguments of the schema, defaults filled in, as a rule gets them."""
    arguments: dict[str, Any] = {}
    for argument in call.target._schema.arguments:
        given = call.arguments.get(argument.name, argument.default_value)
        arguments[argument.name] = _replaced(given, tensors)
    return arguments


def _tensors_of(sets: IndexSets, call: Call) -> dict[int, Tensor]:
    atoms: dict[str, int] = {}

    def axis_of(named: Named) -> Axis:
        for name, size in named:
            if name not in atoms:
                atoms[name] = sets.new(size)
        return tuple(atoms[name] for name, _ in named)

    tensors = {}
    for value in _flat(call.arguments.values()):
        axes = sets.register([axis_of(named) for named in call.axes[id(value)]])
        labels = axis_of(call.labels.get(id(value), ()))
        if labels:
            sets.register([*axes, labels])
        tensors[id(value)] = Tensor(tuple(value.shape), axes, labels)
    return tensors


def _flat(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _flat(value)


def _replaced(value: Any, tensors: Mapping[int, Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return tensors[id(value)]
    if isinstance(value, list | tuple):
        return [_replaced(v, tensors) for v in value]
    return value


def _values(call: Call) -> Values:
    given = {name: list(_flat([value])) for name, value in call.arguments.items()}
    values = Values(boolean=boolean(given), dense=dense(given), ties=True, order_is_seen=True)
    name = str(call.target).split(".")[1]
    if name not in _CHOOSING:
        return values
    numbers = call.arguments["self"].flatten()
    return replace(
        values,
        ties=len(numbers.unique()) < numbers.numel(),
        order_is_seen=not call.arguments.get("sorted", True),
    )


def _is_degenerate(value: torch.Tensor) -> bool:
    """Whether a result has no positions, or numbers as large as of a division by nothing."""
    if not value.numel():
        return True
    return value.is_floating_point() and bool((value.nan_to_num(0, 0, 0).abs() > _HUGE).any())


def _run(target: Any, arguments: Mapping[str, Any]) -> list[torch.Tensor]:
    copies = {id(value): _copied(value) for value in _flat(arguments.values())}
    given = {name: _replaced(value, copies) for name, value in arguments.items()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = target(**given)
    return list(_flat([made]))


def _copied(value: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides, as an operator may read the storage or write into it."""
    if any(n > 1 and not stride for n, stride in zip(value.shape, value.stride(), strict=True)):
        return value.clone(memory_format=torch.contiguous_format)
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(value)


def _permutations(action: Action, members: int, seed: int) -> Iterator[Permutation]:
    """Members of the whole group, and for each set of units two exchanged in one context."""
    names = [group.id for group in action.spec.groups if group.size > 1]
    if not names:
        return
    generator = np.random.default_rng(seed)
    for number in range(members):
        yield action.spec.random(seed + number)
    for name in names:
        yield action.transposition(generator, [name])


def _compared(
    call: Call,
    tensors: Mapping[int, Tensor],
    before: Sequence[torch.Tensor],
    results: Sequence[Tensor],
    move: Move,
) -> str:
    moved = {
        id(value): _with_strides(move(tensors[id(value)], value), value)
        for value in _flat(call.arguments.values())
    }
    arguments = {name: _replaced(value, moved) for name, value in call.arguments.items()}
    try:
        after = _run(call.target, arguments)
    except RuntimeError:  # it does not take tensors with these strides
        return ""
    for number, (tensor, value, found) in enumerate(zip(results, before, after, strict=False)):
        expected = move(tensor, value)
        if not _equal(_narrowed(tensor, value), value):
            return f"result {number} varies along an axis that it is said not to vary along"
        if found.shape != expected.shape or not _equal(found, expected):
            return f"result {number} is not permuted as claimed"
    return ""


def _with_strides(moved: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    if value.is_contiguous() or any(not stride for stride in value.stride()):
        return moved
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(moved)


def _narrowed(tensor: Tensor, value: torch.Tensor) -> torch.Tensor:
    narrow = value
    for number, axis in enumerate(tensor.axes):
        if not axis and value.shape[number]:
            narrow = narrow.narrow(number, 0, 1)
    return narrow.expand(value.shape)


def _equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if not (found.is_floating_point() or found.is_complex()):
        return torch.equal(found, expected)
    # Integers make numbers of the default type, which is a coarser one.
    near = _TOLERANCE if found.dtype in (torch.float64, torch.complex128) else _COARSE
    return torch.allclose(found, expected, rtol=near, atol=near, equal_nan=True)
