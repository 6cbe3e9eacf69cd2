"""The table of operator rules: which function states what an operator does to axes.

A rule takes an :class:`~zooalign.graph.operator.Operator` and returns the operator's result as a
:class:`~zooalign.graph.operator.Tensor` (or a list of them). Operator names are those of ATen with
their overload, ``aten.linear.default``; a name without overload stands for all overloads.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TypeVar

from zooalign.graph.operator import Operator, Result

__all__ = ["OperatorRule", "aten", "collect", "knows_labels", "lookup", "rule"]

OperatorRule = Callable[[Operator], Result]
_Marked = TypeVar("_Marked", bound=OperatorRule)

_MARK = "_zooalign_operators"
_LABELS = "_zooalign_labels"


def aten(names: str) -> tuple[str, ...]:
    """Operator names, which stand in a text without their ``aten.``."""
    return tuple(f"aten.{name}" for name in names.split())


def rule(*names: str, labels: bool = False) -> Callable[[_Marked], _Marked]:
    """Mark a function as the rule of the named operators.

    ``labels`` says that the rule handles operands that are numbers of positions
    (:class:`~zooalign.graph.operator.Tensor`). For any other rule their axis is fixed.
    """

    def mark(function: _Marked) -> _Marked:
        setattr(function, _MARK, (*getattr(function, _MARK, ()), *names))
        setattr(function, _LABELS, labels)
        return function

    return mark


def knows_labels(function: OperatorRule) -> bool:
    """Whether a rule was marked as handling numbers of positions."""
    return bool(getattr(function, _LABELS, False))


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
    base = name.rsplit(".", 1)[0]
    for candidate in (name, base, base.removesuffix("_")):
        if candidate in rules:
            return rules[candidate]
    return None
