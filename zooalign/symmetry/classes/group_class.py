"""What a class of a group consists of: which maps of its units, and where they multiply what.

The fields of these types are those of the spec file (``docs/spec.md``).
"""

from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct, structs

from zooalign.graph.index_sets import Cause
from zooalign.kinds import Symmetries
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.contract import ProofRecord
from zooalign.symmetry.groups import plain

__all__ = [
    "Absorbed",
    "ClassName",
    "ClassesRecord",
    "Exponents",
    "GroupClass",
    "Lowering",
    "class_name",
]

ClassName = Literal[
    "permutations",
    "signed permutations",
    "scaled permutations",
    "monomial",
    "orthogonal fixing ones",
    "orthogonal",
    "invertible",
]

_LEVELS: dict[ClassName, Level] = {
    "orthogonal fixing ones": Level.FIXING_ONES,
    "orthogonal": Level.ORTHOGONAL,
    "invertible": Level.INVERTIBLE,
}

Exponent = Annotated[int, Meta(ge=-64, le=64)]
#: For each member of a group, in the order of the spec, an exponent for each of its blocks.
Exponents = tuple[tuple[Exponent, ...], ...]


class Lowering(Struct, frozen=True):
    """What keeps a class from being larger: a kind of reason, the operator, and details."""

    kind: str
    operator: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """One line, as for what freezes an axis."""
        return str(Cause(self.kind, self.operator, self.detail))


class Absorbed(Struct, frozen=True):
    """A parameter that is made one, unit by unit, before linear maps act on a group.

    ``scale`` are the exponents of the scale that does it: by one over the parameter's values.
    """

    parameter: str
    scale: Exponents


class GroupClass(Struct, frozen=True, rename={"name": "class"}):
    """The class of one group.

    Attributes
    ----------
    group:
        Its id in the spec.
    name:
        The class.
    linear:
        With linear maps, what each block of each member is multiplied by: 1 for the map, -1 for its
        inverse transposed. None where only maps unit by unit are left.
    absorbed:
        Parameters that are made one before linear maps act.
    scales:
        Independent scales: a factor of each unit, to the power of these exponents.
    signs:
        Independent changes of sign: of the blocks with exponent 1.
    lowered:
        What keeps the class from being larger.
    """

    group: str
    name: ClassName
    linear: Exponents | None = None
    absorbed: tuple[Absorbed, ...] = ()
    scales: tuple[Exponents, ...] = ()
    signs: tuple[Exponents, ...] = ()
    lowered: tuple[Lowering, ...] = ()

    @property
    def level(self) -> Level:
        """Which linear maps there are."""
        return _LEVELS.get(self.name, Level.MONOMIAL)

    def within(self, symmetries: Symmetries) -> "GroupClass":
        """The part of the class that goes only as far as ``symmetries``.

        Examples
        --------
        >>> signs = (((1,), (1,)),)
        >>> GroupClass("w:0", "monomial", scales=signs, signs=signs).within("signed").name
        'signed permutations'
        """
        if symmetries == "linear":
            return self
        scales = self.scales if symmetries == "monomial" else ()
        signs = () if symmetries == "permutations" else self.signs
        name = class_name(Level.MONOMIAL, bool(scales), bool(signs))
        return structs.replace(
            self, name=name, linear=None, absorbed=(), scales=scales, signs=signs
        )

    def to_dict(self) -> dict[str, Any]:
        """The class as in the spec file (``docs/spec.md``)."""
        return dict(plain(self))


class ClassesRecord(Struct, frozen=True):
    """The classes of all groups of a spec, how far they were asked to go, and their proof.

    ``groups`` are in the order of the spec. ``proof`` is None where it was not tried.
    """

    symmetries: Symmetries
    groups: tuple[GroupClass, ...]
    proof: ProofRecord | None = None

    def summary(self) -> dict[str, int]:
        """How many groups have each class, the smallest class first."""
        names = [of.name for of in self.groups]
        return {name: names.count(name) for name in get_args(ClassName) if name in names}


def class_name(level: Level, scales: bool, signs: bool) -> ClassName:
    """The name of a class, by its linear maps, and whether it has scales and signs without them."""
    if level > Level.MONOMIAL:
        return next(name for name, of in _LEVELS.items() if of == level)
    if scales:
        return "monomial" if signs else "scaled permutations"
    return "signed permutations" if signs else "permutations"
