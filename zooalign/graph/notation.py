"""The notation for what an operator does to axes, after einops.

``"*b i, o i, o -> *b o"`` is a linear layer: operands separated by commas, axes by spaces.

- a **name** is one axis; the same name twice is one index set (equality);
- ``*name`` is any number of axes (zero too), the same number wherever it stands;
- ``(g c)`` is one axis that is the row-major product of ``g`` and ``c``;
- ``name!`` is told apart position by position by the operator (fixed), e.g. a kernel position;
- ``[name]`` is summed, normalised or attended over: something that lacks these axes is computed;
- ``name~`` is combined position by position, e.g. the rows of a matrix that is inverted;
- ``?`` before an operand: it may be absent;
- ``1`` is an axis of one position; ``_`` any axis, related to nothing.

A name on the right that is not on the left is a new axis whose size the output tells.

An expression also grants dependence. A set may have an order for each value of another only where
every operand and result that has the name of the one has the name of the other: then the operator
never sees the one without the other. On names marked ``!`` or ``~`` nothing may depend, on names
in brackets only those in brackets with them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

__all__ = ["AxisPattern", "Factor", "Operand", "Pattern", "expression", "names", "parse"]

_TOKEN = re.compile(r"\(([^()]*)\)|(\S+)")
_FACTOR = re.compile(r"(\[)?(\*)?([A-Za-z_][A-Za-z_0-9]*|1)([!~])?(\])?(!)?$")


@dataclass(frozen=True)
class Factor:
    """A name in an axis: ``star`` is any number of axes.

    ``fixed`` is ``!``, ``inside`` is ``[]`` and ``combined`` is ``~``.
    """

    name: str
    star: bool = False
    fixed: bool = False
    inside: bool = False
    combined: bool = False


@dataclass(frozen=True)
class AxisPattern:
    """One axis: a single factor, or the row-major product of several."""

    factors: tuple[Factor, ...]

    @property
    def star(self) -> bool:
        """Whether this stands for any number of axes."""
        return len(self.factors) == 1 and self.factors[0].star


@dataclass(frozen=True)
class Operand:
    """One tensor: its axes, and whether it may be absent."""

    axes: tuple[AxisPattern, ...]
    optional: bool = False


@dataclass(frozen=True)
class Pattern:
    """A parsed expression: operands on the left, results on the right."""

    operands: tuple[Operand, ...]
    results: tuple[Operand, ...]


@lru_cache(maxsize=512)
def parse(text: str) -> Pattern:
    """Parse an axis expression.

    Raises
    ------
    ValueError
        With the expression and the part of it that is wrong.

    Examples
    --------
    >>> parse("n (g c), (g c) -> n g").results[0].axes[1].factors[0].name
    'g'
    >>> parse("n c ->")
    Traceback (most recent call last):
    ...
    ValueError: axis expression 'n c ->': nothing stands right of '->'
    """
    left, arrow, right = text.partition("->")
    if not arrow:
        raise ValueError(f"axis expression {text!r}: '->' is missing")
    if not right.strip():
        raise ValueError(f"axis expression {text!r}: nothing stands right of '->'")
    operands = tuple(_operand(part, text) for part in left.split(","))
    results = tuple(_operand(part, text) for part in right.split(","))
    return Pattern(operands, results)


def names(count: int, marks: Mapping[int, str] = MappingProxyType({})) -> list[str]:
    """Names for ``count`` axes, those in ``marks`` written as ``"[{}]"`` or ``"{}!"`` says.

    Axes are counted from the right, so that the names of tensors that broadcast agree.

    Examples
    --------
    >>> " ".join(names(3, {1: "[{}]"}))
    'a3 [a2] a1'
    """
    return [marks.get(n, "{}").format(f"a{count - n}") for n in range(count)]


def expression(operands: Sequence[Sequence[str]], results: Sequence[Sequence[str]]) -> str:
    """The axis expression of operands and results that are given as lists of axes.

    An empty name is left out, and a tensor without axes has none.

    Examples
    --------
    >>> expression([["a", "[b]"], ["?b"]], [["a", "b"]])
    'a [b], ?b -> a b'
    >>> expression([["[a]"]], [[""]])
    '[a] -> *n'
    """
    left, right = (
        ", ".join(" ".join(filter(None, axes)) or "*n" for axes in tensors)
        for tensors in (operands, results)
    )
    return f"{left} -> {right}"


def _operand(part: str, text: str) -> Operand:
    part = part.strip()
    optional = part.startswith("?")
    axes = []
    for product, single in _TOKEN.findall(part.removeprefix("?")):
        names = product.split() if product else [single]
        axes.append(AxisPattern(tuple(_factor(name, text) for name in names)))
    if sum(axis.star for axis in axes) > 1:
        raise ValueError(f"axis expression {text!r}: two '*' in the one operand {part!r}")
    return Operand(tuple(axes), optional)


def _factor(name: str, text: str) -> Factor:
    match = _FACTOR.match(name)
    if not match or bool(match[1]) != bool(match[5]):
        raise ValueError(f"axis expression {text!r}: cannot read {name!r}")
    fixed, combined = match[4] == "!" or bool(match[6]), match[4] == "~"
    return Factor(match[3], bool(match[2]), fixed, bool(match[1]), combined)
