"""What a rule says about values, beside what its notation says about axes: a role for each operand.

The notation says which sets an operator contracts, keeps, or works on one by one. Roles say how the
result depends on the values of an operand. They are read as a formula: the result is the product of
all that is multiplied, plus each term.

================  =========================================================================
``factor``        multiplied, as it is: the operator is linear in it
``divisor``       multiplied, as its reciprocal
``term``          added, as it is
``copy``          each position of the result is one of this operand's, or zero (no notation)
``positive``      multiplied, as f(x) with f(s x) = s f(x) for s > 0: ``relu``
``odd``           multiplied, as f(x) with f(-x) = -f(x): ``tanh``
``even``          multiplied, as f(x) with f(-x) = f(x): ``cos``
``absolute``      multiplied, as its absolute value
``**k``           multiplied, as a power: ``**2``, ``**-1/2``
``rms``           multiplied, as x over its root mean square along the axes in brackets
``centred``       multiplied, as x less its mean, over its deviation, along the axes in brackets
``length``        multiplied, as the Euclidean length along the axes in brackets
``standardised``  multiplied, as x less a stored mean, over a stored deviation
``mean``          the mean that ``standardised`` takes off
``largest``       multiplied, as the largest or smallest along the axes in brackets
``still``         any other way: nothing is known of the result if it changes
================  =========================================================================

The last role stands for all further operands. An operator whose rule gives no roles is taken to use
all its operands in any other way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zooalign.graph.tensor import Tensor

__all__ = ["COPY", "ROLES", "Named", "Statement", "roles_of", "roles_problem"]

COPY = "copy"
_KNOWN = (
    "factor divisor term copy positive odd even absolute rms centred length standardised mean "
    "largest still"
)
ROLES = frozenset(_KNOWN.split())


@dataclass(frozen=True)
class Named:
    """A tensor with the names of its axes: for each axis (name, size) of its factors."""

    tensor: Tensor
    axes: tuple[tuple[tuple[str, int], ...], ...]


@dataclass(frozen=True)
class Statement:
    """One axis expression of a rule, bound to tensors.

    ``roles`` has one for each operand, or is empty where the rule gives none. ``inside`` are the
    names that are reduced (``[]``), ``combined`` those that are told apart or combined (``!``,
    ``~``).
    """

    roles: tuple[str, ...]
    operands: tuple[Named, ...]
    results: tuple[Named, ...]
    inside: frozenset[str] = field(default_factory=frozenset)
    combined: frozenset[str] = field(default_factory=frozenset)


def roles_of(text: str, count: int) -> tuple[str, ...]:
    """The roles of ``count`` operands; the last one that is given stands for all further ones.

    Examples
    --------
    >>> roles_of("factor term", 3)
    ('factor', 'term', 'term')
    """
    given: Sequence[str] = text.split()
    return tuple(given[min(n, len(given) - 1)] for n in range(count)) if given else ()


def roles_problem(text: str) -> str | None:
    """What is wrong with a text of roles, if anything."""
    unknown = [role for role in text.split() if role not in ROLES and not role.startswith("**")]
    known = ", ".join(sorted(ROLES))
    return f"no role is called {unknown[0]!r}; there are {known} and **k" if unknown else None
