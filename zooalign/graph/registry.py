"""The table of operator rules: which function states what an operator does to axes.

A rule takes an :class:`~zooalign.graph.operator.Operator` and returns the operator's result as a
:class:`~zooalign.graph.operator.Tensor` (or a list of them). Operator names are those of ATen with
their overload, ``aten.linear.default``; a name without overload stands for all overloads.

What a rule returns is not trusted blindly (:func:`applied`): it must have looked at every tensor
among the operator's arguments, and its results must have the operator's sizes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.statement import roles_problem

__all__ = [
    "OperatorRule",
    "RuleFault",
    "applied",
    "aten",
    "collect",
    "knows_labels",
    "lookup",
    "roles_given",
    "rule",
    "rules_problem",
]

OperatorRule = Callable[[Operator], Result]
_Marked = TypeVar("_Marked", bound=OperatorRule)

_MARK = "_zooalign_operators"
_LABELS = "_zooalign_labels"
_ROLES = "_zooalign_roles"


def aten(names: str) -> tuple[str, ...]:
    """Operator names, which stand in a text without their ``aten.``."""
    return tuple(f"aten.{name}" for name in names.split())


def rule(*names: str, labels: bool = False, roles: str = "") -> Callable[[_Marked], _Marked]:
    """Mark a function as the rule of the named operators.

    ``labels`` says that the rule handles operands that are numbers of positions
    (:class:`~zooalign.graph.operator.Tensor`). For any other rule their axis is fixed.

    ``roles`` are those of the operands, in the order in which the rule relates them
    (:mod:`zooalign.graph.statement`): how the values of the result depend on theirs. Without them
    only permutations are granted to what the operators touch.
    """
    problem = roles_problem(roles)
    if problem is not None:
        raise ValueError(f"the rule of {', '.join(names)}: {problem}")

    def mark(function: _Marked) -> _Marked:
        setattr(function, _MARK, (*getattr(function, _MARK, ()), *names))
        setattr(function, _LABELS, labels)
        given: Mapping[str, str] = getattr(function, _ROLES, {})
        setattr(function, _ROLES, {**given, **dict.fromkeys(names, roles)})
        return function

    return mark


def roles_given(function: OperatorRule, name: str) -> str:
    """The roles that a rule gives to the operands of an operator, empty where it gives none."""
    given: Mapping[str, str] = getattr(function, _ROLES, {})
    return next((given[key] for key in _keys(name) if key in given), "")


def knows_labels(function: OperatorRule) -> bool:
    """Whether a rule was marked as handling numbers of positions."""
    return bool(getattr(function, _LABELS, False))


def rules_problem(item: object) -> str | None:
    """What keeps an item of the hook from being a module of operator rules."""
    return None if isinstance(item, ModuleType) else f"{item!r} is not a module"


def collect(*modules: ModuleType) -> dict[str, OperatorRule]:
    """All rules of the given modules, by operator name; later modules override earlier ones."""
    table: dict[str, OperatorRule] = {}
    for module in modules:
        for value in vars(module).values():
            for name in getattr(value, _MARK, ()):
                table[name] = value
    return table


def lookup(rules: Mapping[str, OperatorRule], name: str) -> OperatorRule | None:
    """The rule of an operator, by its full name, then without overload, then not in place."""
    return next((rules[key] for key in _keys(name) if key in rules), None)


def _keys(name: str) -> tuple[str, str, str]:
    base = name.rsplit(".", 1)[0]
    return name, base, base.removesuffix("_")


class RuleFault(Exception):
    """A rule that does not fit the call it was applied to; the message says which, and why."""


def applied(function: OperatorRule, op: Operator) -> Result:
    """What a rule says about a call.

    Raises
    ------
    RuleFault
        If the rule raises, leaves a tensor among the arguments unread, or returns tensors that
        are not the operator's results.
    """
    name = f"the rule '{function.__module__}.{function.__name__}' of {op.name}"
    try:
        result = function(op)
    except Exception as error:  # whatever it is, the rule does not cover this call
        raise RuleFault(
            f"{name} does not cover this use: {type(error).__name__}: {error}"
        ) from error
    unread = op.unread()
    if unread:
        raise RuleFault(f"{name} does not look at {', '.join(unread)}")
    results = [] if result is None else result if isinstance(result, Sequence) else [result]
    for number, tensor in enumerate(results):
        if not _has_form(op, tensor, number):
            raise RuleFault(f"{name} gives result {number} sizes that it does not have")
    return result


def _has_form(op: Operator, tensor: Tensor, number: int) -> bool:
    """Whether a result has the operator's shape, and each axis its size or no variation."""
    if number >= len(op.results) or tensor.shape != op.results[number]:
        return False
    return len(tensor.axes) == len(tensor.shape) and all(
        not op.sets.digits(axis) or op.sets.size(axis) == size
        for axis, size in zip(tensor.axes, tensor.shape, strict=True)
    )
