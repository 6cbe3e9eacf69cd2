"""The class of a group: the largest family of maps of its units, known, that changes no output.

A permutation spec says which units may change places. Many such sets can do more: change their
signs, be scaled, be rotated, be mixed by any invertible map.

============================  ======================================================================
class                         maps of the units of a group, in each of its contexts
============================  ======================================================================
``permutations``              as in the spec
``signed permutations``       and changes of sign
``scaled permutations``       and positive scales
``monomial``                  and both
``orthogonal fixing ones``    rotations that keep the vector of ones, as between ``layer_norm``\\ s
``orthogonal``                all rotations and reflections, as between ``rms_norm``\\ s
``invertible``                all invertible maps: what reads the units takes the inverse
============================  ======================================================================

Where a norm multiplies units by a weight, rotations are left only once all such weights are one.
That is done by a scale, so its equations say whether it can be (:class:`Absorbed`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm, prod
from typing import Literal

from zooalign.errors import SpecError
from zooalign.graph.index_sets import Cause
from zooalign.symmetry.action import action_of_spec
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.groups import Group
from zooalign.symmetry.levels import Level
from zooalign.symmetry.null_space import Equations, Vector, reduced
from zooalign.symmetry.scaling import Scaling, Weight, scaling

__all__ = ["SYMMETRIES", "Absorbed", "Classes", "Exponents", "GroupClass", "Symmetries", "derive_classes"]

#: How far symmetries go, from the least to the most.
Symmetries = Literal["permutations", "signed", "monomial", "linear"]
SYMMETRIES: tuple[Symmetries, ...] = ("permutations", "signed", "monomial", "linear")

#: For each member of a group, in the order of the spec, an exponent for each of its blocks.
Exponents = tuple[tuple[int, ...], ...]

# Of one group; there may be as many as operators that read it.
_MOST_CAUSES = 8

_LINEAR_NAMES = {
    Level.FIXING_ONES: "orthogonal fixing ones",
    Level.ORTHOGONAL: "orthogonal",
    Level.INVERTIBLE: "invertible",
}


@dataclass(frozen=True)
class Absorbed:
    """A parameter that is made one, unit by unit, before linear maps act on a group.

    ``scale`` are the exponents of the scale that does it: by one over the parameter's values.
    """

    parameter: str
    scale: Exponents


@dataclass(frozen=True)
class PlaceExponents:
    """As those of a class, on all places of a graph by their number; what is left out is 0."""

    linear: Mapping[int, Fraction] | None
    scales: tuple[Mapping[int, Fraction], ...]
    signs: tuple[Mapping[int, Fraction], ...]


@dataclass(frozen=True)
class GroupClass:
    """The class of one group.

    Attributes
    ----------
    group:
        Its id in the spec.
    linear:
        With linear maps, what each block of each member is multiplied by: 1 for the map, -1 for its
        inverse transposed. None where only maps unit by unit are left.
    level:
        Which linear maps.
    absorbed:
        Parameters that are made one first.
    scales:
        Independent scales: by the factor of a unit to the power of these exponents.
    signs:
        Independent changes of sign: of blocks with exponent 1.
    lowered:
        What keeps the class from being larger.
    places:
        The exponents on all tensors of the graph it was derived from.
    """

    group: str
    level: Level
    linear: Exponents | None
    absorbed: tuple[Absorbed, ...]
    scales: tuple[Exponents, ...]
    signs: tuple[Exponents, ...]
    lowered: tuple[Cause, ...]
    places: "PlaceExponents | None" = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The class, such as ``orthogonal``."""
        if self.linear is not None:
            return _LINEAR_NAMES[self.level]
        if self.scales and self.signs:
            return "monomial"
        if self.scales:
            return "scaled permutations"
        return "signed permutations" if self.signs else "permutations"

    def within(self, symmetries: Symmetries) -> "GroupClass":
        """The part of the class that goes only as far as ``symmetries``."""
        far = SYMMETRIES.index(symmetries)
        return GroupClass(
            self.group,
            self.level if far == 3 else Level.MONOMIAL,
            self.linear if far == 3 else None,
            self.absorbed if far == 3 else (),
            self.scales if far >= 2 else (),
            self.signs if far >= 1 else (),
            self.lowered,
            self.places,
        )


@dataclass(frozen=True)
class Classes:
    """The class of each group of a derived spec, by its id, with what its operators say."""

    groups: Mapping[str, GroupClass]
    said: Scaling | None


def derive_classes(derived: Derived) -> Classes:
    """Derive the class of each group of a spec from what its operators say of values.

    Examples
    --------
    >>> import torch
    >>> from zooalign.symmetry import derive_spec
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> relu = derive_classes(derive_spec(mlp, (torch.zeros(1, 4),))).groups["0.weight:0"]
    >>> relu.name
    'scaled permutations'
    >>> relu.scales
    (((1,), (1,), (-1,)),)
    >>> str(relu.lowered[0])
    "nonlinear (positive), at aten.relu.default 'relu'"
    """
    action = action_of_spec(derived)
    try:
        said = scaling(derived.traced, action)
    except SpecError as error:
        cause = Cause("not understood", "the solution of all relations", str(error))
        return Classes({g.id: _nothing(g, [cause]) for g in derived.spec.groups}, None)
    parameters = _parameters(derived, said)
    groups = {g.id: _Class(derived, said, g, parameters).found() for g in derived.spec.groups}
    return Classes(groups, said)


def _nothing(group: Group, lowered: Sequence[Cause]) -> GroupClass:
    return GroupClass(group.id, Level.MONOMIAL, None, (), (), (), tuple(lowered))


def _parameters(derived: Derived, said: Scaling) -> dict[int, str]:
    """The parameter of each place in one, by its first name."""
    captured, values = derived.traced.captured, derived.traced.values
    return {
        place: captured.tied.get(name, name)
        for node, name in captured.parameters.items()
        if values.get(node) is not None
        for place in said.places.numbers(values[node])
    }


def _member_places(
    derived: Derived, said: Scaling, group: Group
) -> Iterator[tuple[int, ...]]:
    """For each member of a group, the numbers of the places of its blocks."""
    captured, values = derived.traced.captured, derived.traced.values
    tensors = {
        captured.tied.get(name, name): values[node]
        for node, name in captured.parameters.items()
        if values.get(node) is not None
    }
    seen: dict[str, int] = {}
    for member in group.members:
        first = captured.tied.get(member.parameter, member.parameter)
        occurrences = [o for o in said.places.of(tensors[first]) if o.group.id == group.id]
        number = seen.get(member.parameter, 0)
        seen[member.parameter] = number + 1
        yield occurrences[number].places


class _Class:
    """Finds the class of one group."""

    def __init__(
        self, derived: Derived, said: Scaling, group: Group, parameters: Mapping[int, str]
    ) -> None:
        self.said, self.group, self.parameters = said, group, parameters
        self.shapes = derived.spec.shapes
        self.scales, self.signs = said.scales[group.id], said.signs[group.id]
        self.all = [n for n, place in enumerate(said.places.known) if place.group == group.id]
        self.stored = [place for place in self.all if place in parameters]
        self.weights = {w.place: w for w in said.weights[group.id]}
        self.member_places = list(_member_places(derived, said, group))
        self.level = min((x.level for x in said.lowered[group.id]), default=Level.INVERTIBLE)

    def found(self) -> GroupClass:
        """The class, with what lowered it."""
        numbered = self.said.numbered.get(self.group.id)
        if numbered is not None:
            return _nothing(self.group, [numbered])
        scales = tuple(self._seen(reduced(self.scales.null_space(self.all), self.stored)))
        signs = reduced(self.signs.null_space(self.all), self.stored, binary=True)
        flips = tuple(self._seen(signs))
        linear, absorbed, causes = self._linear()
        held = self._held(linear is not None, bool(scales), bool(flips))
        return GroupClass(
            self.group.id,
            self.level if linear is not None else Level.MONOMIAL,
            None if linear is None else self._exponents(linear),
            absorbed,
            tuple(map(self._exponents, scales)),
            tuple(map(self._exponents, flips)),
            tuple(dict.fromkeys((*causes, *held)))[:_MOST_CAUSES],
            PlaceExponents(linear, scales, flips),
        )

    def _seen(self, basis: Mapping[int, Vector[int]]) -> Iterator[Vector[int]]:
        """Those of a basis that multiply anything in the state dict, as whole numbers."""
        for place, vector in basis.items():
            if place in self.parameters:
                times = lcm(*(x.denominator for u, x in vector.items() if u in self.parameters))
                yield {u: x * times for u, x in vector.items()}

    # ------------------------------------------------------------------ linear maps

    def _linear(self) -> tuple[Vector[int] | None, tuple[Absorbed, ...], list[Cause]]:
        """What linear maps multiply, which weights become one first, and what lowered the level."""
        lowered = self.said.lowered[self.group.id]
        causes = [x.cause for x in lowered if x.level == self.level]
        if self.level == Level.MONOMIAL:
            return None, (), causes
        absorbed = self._absorbed()
        if isinstance(absorbed, Cause):
            return None, (), [absorbed]
        scales, signs = self.scales.copy(), self.signs.copy()
        for weight in self.weights:
            scales.state({weight: 1})
            signs.state({weight: 1})
        ones = {a.parameter for a in absorbed}
        left = [
            place
            for place in self.all
            if self.parameters.get(self.said.origins.get(place, place)) not in ones
            and place not in self.said.lengths  # squares on the way to a length are not mapped
        ]
        if self.level == Level.INVERTIBLE:
            vector = _plus_or_minus_one(scales, left)
            if vector is not None:
                return vector, absorbed, causes
            self.level = Level.ORTHOGONAL
            both_ways = "units are read as they are written, by a parameter or a product"
            causes = [Cause("two sides", "the solution of all relations", both_ways)]
        if self.level == Level.ORTHOGONAL and not _all_ones(signs, left):
            return None, (), [Cause("signs", "the solution of all relations", "of some places")]
        return dict.fromkeys(left, Fraction(1)), absorbed, causes

    def _absorbed(self) -> tuple[Absorbed, ...] | Cause:
        """The scales that make all weights one, or why there are none."""
        basis = reduced(self.scales.null_space(self.all), self.weights)
        for place, weight in self.weights.items():
            vector = basis.get(place)
            if prod(self.shapes[self.parameters[place]]) != self.group.copies * self.group.size:
                why = f"'{self.parameters[place]}' has more than one value for a unit"
                return Cause("norm weight", weight.cause.operator, why)
            if vector is None or any(vector.get(w) for w in self.weights if w != place):
                return self._refused(weight)
            whole = all(x.denominator == 1 for x in vector.values())
            if not whole or not self.signs.holds(vector):
                why = f"'{self.parameters[place]}' has a sign that cannot be moved"
                return Cause("norm weight", weight.cause.operator, why)
        return tuple(
            Absorbed(self.parameters[place], self._exponents(basis[place]))
            for place in self.weights
        )

    def _refused(self, weight: Weight) -> Cause:
        """Why a weight cannot be one: the first place that its scale would change, and may not."""
        name = self.parameters[weight.place]
        before: dict[int, int | None] = {weight.place: None}
        queue = [weight.place]
        for place in queue:
            if place in self.said.zeros:
                passed, at = [], before[place]
                while at is not None:
                    passed.append(self.parameters.get(at, name))
                    at = before[at]
                through = next((other for other in reversed(passed) if other != name), None)
                cause = self.said.zeros[place]
                by = f", through '{through}'" if through else ""
                why = f"'{name}' cannot be moved into what reads it{by}: {cause.kind}"
                return Cause("norm weight", cause.operator, why)
            for other in self.said.ties[place]:
                if other not in before:
                    before[other] = place
                    queue.append(other)
        why = f"'{name}' is read in several ways"
        return Cause("norm weight", weight.cause.operator, why)

    # ------------------------------------------------------------------ unit by unit

    def _held(self, linear: bool, scales: bool, signs: bool) -> Iterator[Cause]:
        """What holds scales and signs, where there are none."""
        if linear or (scales and signs):
            return
        for place in self.all:
            if place in self.said.zeros:
                yield self.said.zeros[place]

    def _exponents(self, vector: Mapping[int, Fraction]) -> Exponents:
        """By members and blocks, as whole numbers."""
        return tuple(
            tuple(int(vector.get(place, 0)) for place in places) for places in self.member_places
        )


def _plus_or_minus_one(scales: Equations[int], places: Sequence[int]) -> Vector[int] | None:
    """A solution that is 1 or -1 at all of these places, 1 at the first."""
    whole: Vector[int] = {}
    for vector in scales.null_space(places):
        first = next(iter(vector.values()))
        for place, x in vector.items():
            whole[place] = whole.get(place, Fraction(0)) + x / first
    return whole if all(abs(whole.get(place, 0)) == 1 for place in places) else None


def _all_ones(signs: Equations[int], places: Sequence[int]) -> bool:
    """Whether the sign of all these places may change at once."""
    together = signs.copy()
    for place in places:
        together.state({place: 1, -1: 1})  # -1 is no place: all are as it is
    return bool(together.null_space([-1]))
