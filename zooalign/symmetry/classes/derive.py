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
``orthogonal fixing ones``    rotations that keep the vector of ones, as between ``layer_norm``
``orthogonal``                all rotations and reflections, as between ``rms_norm``
``invertible``                all invertible maps: what reads the units takes the inverse
============================  ======================================================================

Where a norm multiplies units by a weight, rotations are left only once all such weights are one.
That is done by a scale, so its equations say whether it can be (:class:`Absorbed`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm, prod

from zooalign.errors import SpecError
from zooalign.graph.build import trace
from zooalign.graph.index_sets import Cause
from zooalign.kinds import Symmetries
from zooalign.symmetry.action import action_of_spec
from zooalign.symmetry.classes.group_class import (
    Absorbed,
    Exponents,
    GroupClass,
    Lowering,
    class_name,
)
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.classes.maps import BlockExponents
from zooalign.symmetry.classes.null_space import Equations, Vector, reduced
from zooalign.symmetry.classes.scaling import Scaling, Weight, scaling
from zooalign.symmetry.derive import Derived, derive
from zooalign.symmetry.groups import Group

__all__ = ["Classes", "PlaceExponents", "derive_classes"]

_ALL = "the solution of all relations"
# Of one group; there may be as many as operators that read it.
_MOST_CAUSES = 8


@dataclass(frozen=True)
class PlaceExponents:
    """As those of a class, on all places of a graph by their number; what is left out is 0."""

    linear: Mapping[int, Fraction] | None
    scales: tuple[Mapping[int, Fraction], ...]
    signs: tuple[Mapping[int, Fraction], ...]


@dataclass(frozen=True)
class Classes:
    """The class of each group of a derived spec, by its id.

    ``places`` has the exponents on all tensors of the graph, of scales and signs also where the
    class has linear maps; ``said`` is what the operators say, ``derived`` the graph that they are
    of, at all sizes of inputs.
    """

    groups: Mapping[str, GroupClass]
    places: Mapping[str, PlaceExponents] = field(default_factory=dict, repr=False)
    said: Scaling | None = field(default=None, repr=False)
    derived: Derived | None = field(default=None, repr=False)

    def exponents(self, group: str, place: int) -> BlockExponents:
        """What the class of a group multiplies at one place of the graph."""
        at = self.places.get(group)
        if at is None:  # only permutations, or units that no parameter has
            return BlockExponents(0, (), ())
        of = self.groups[group]
        if of.linear is not None and at.linear is not None:
            return BlockExponents(int(at.linear.get(place, 0)), (), ())
        scales, signs = at.scales if of.scales else (), at.signs if of.signs else ()
        return BlockExponents(
            0,
            tuple(float(vector.get(place, 0)) for vector in scales),
            tuple(int(vector.get(place, 0)) for vector in signs),
        )

    def within(self, symmetries: Symmetries) -> "Classes":
        """The parts of the classes that go only as far as ``symmetries``."""
        return replace(self, groups={n: c.within(symmetries) for n, c in self.groups.items()})


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
    >>> relu.lowered[0].reason
    "nonlinear (positive), at aten.relu.default 'relu'"
    """
    spec, traced = derived.spec, derived.traced
    if derived.other_sizes:
        derived = derive(trace(traced.captured, traced.rules, derived.other_sizes))
    try:
        if derived.spec.by_id != spec.by_id:
            raise SpecError("inputs of other sizes have other groups")
        said = scaling(derived.traced, action_of_spec(derived))
    except SpecError as error:
        cause = Cause("not understood", _ALL, str(error))
        return Classes({g.id: _nothing(g, [cause]) for g in spec.groups})
    parameters = _parameters(derived, said)
    groups: dict[str, GroupClass] = {}
    places: dict[str, PlaceExponents] = {}
    for group in spec.groups:
        numbered = said.numbered.get(group.id)
        if numbered is not None:
            groups[group.id] = _nothing(group, [numbered])
            continue
        of = _Class(derived, said, group, parameters)
        groups[group.id], places[group.id] = of.group_class(), of.exponents
    return Classes(groups, places, said, derived)


def _nothing(group: Group, lowered: Sequence[Cause]) -> GroupClass:
    return GroupClass(group.id, "permutations", lowered=_lowerings(lowered))


def _lowerings(causes: Iterable[Cause]) -> tuple[Lowering, ...]:
    distinct = list(dict.fromkeys(causes))[:_MOST_CAUSES]
    return tuple(Lowering(c.kind, c.operator, c.detail) for c in distinct)


def _parameters(derived: Derived, said: Scaling) -> dict[int, str]:
    """The parameter of each place in one, by its first name."""
    captured, values = derived.traced.captured, derived.traced.values
    return {
        place: captured.tied.get(name, name)
        for node, name in captured.parameters.items()
        if values.get(node) is not None
        for place in said.places.numbers(values[node])
    }


def _member_places(derived: Derived, said: Scaling, group: Group) -> Iterator[tuple[int, ...]]:
    """For each member of a group, the numbers of the places of its blocks."""
    tensors = derived.traced.stored
    seen: dict[str, int] = {}
    for member in group.members:
        places = said.places.of(tensors[member.parameter])
        occurrences = [o for o in places if o.group.id == group.id]
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
        self.causes = [x.cause for x in said.lowered[group.id] if x.level == self.level]
        self.absorbed: dict[str, Vector[int]] = {}
        scales = reduced(self.scales.null_space(self.all), self.stored)
        signs = reduced(self.signs.null_space(self.all), self.stored, binary=True)
        self.exponents = PlaceExponents(
            self._linear(), tuple(self._seen(scales)), tuple(self._seen(signs))
        )

    def group_class(self) -> GroupClass:
        """The class, with what lowered it."""
        at = self.exponents
        linear = at.linear is not None
        return GroupClass(
            self.group.id,
            class_name(self.level if linear else Level.MONOMIAL, bool(at.scales), bool(at.signs)),
            None if at.linear is None else self._table(at.linear),
            tuple(Absorbed(name, self._table(vector)) for name, vector in self.absorbed.items()),
            tuple(map(self._table, at.scales)),
            tuple(map(self._table, at.signs)),
            _lowerings([*self.causes, *self._held(linear, bool(at.scales), bool(at.signs))]),
        )

    def _seen(self, basis: Mapping[int, Vector[int]]) -> Iterator[Vector[int]]:
        """Those of a basis that multiply anything in the state dict, as whole numbers."""
        for place, vector in basis.items():
            if place in self.parameters:
                times = lcm(*(x.denominator for u, x in vector.items() if u in self.parameters))
                yield {u: x * times for u, x in vector.items()}

    # ------------------------------------------------------------------ linear maps

    def _linear(self) -> Vector[int] | None:
        """The exponents of linear maps, if any are left; notes what lowered the level."""
        refusal = None if self.level == Level.MONOMIAL else self._absorb()
        if self.level == Level.MONOMIAL or refusal is not None:
            self.causes = self.causes if refusal is None else [refusal]
            return None
        scales, signs = self.scales.copy(), self.signs.copy()
        for weight in self.weights:
            scales.state({weight: 1})
            signs.state({weight: 1})
        left = [
            place
            for place in self.all
            if self.parameters.get(self.said.origins.get(place, place)) not in self.absorbed
            and place not in self.said.lengths  # squares on the way to a length are not mapped
        ]
        if self.level == Level.INVERTIBLE:
            vector = _plus_or_minus_one(scales, left)
            if vector is not None:
                return vector
            self.level = Level.ORTHOGONAL
            self.causes = [Cause("two sides", _ALL, "units are read as they are written")]
        if self.level == Level.ORTHOGONAL and not _all_ones(signs, left):
            self.causes = [Cause("signs", _ALL, "they do not change everywhere at once")]
            return None
        return dict.fromkeys(left, Fraction(1))

    def _absorb(self) -> Cause | None:
        """Find the scales that make all weights one; why there are none, if so."""
        basis = reduced(self.scales.null_space(self.all), self.weights)
        absorbed: dict[str, Vector[int]] = {}
        for place, weight in self.weights.items():
            name, vector = self.parameters[place], basis.get(place)
            if prod(self.shapes[name]) != self.group.copies * self.group.size:
                why = f"'{name}' has more than one value for a unit"
                return Cause("norm weight", weight.cause.operator, why)
            if vector is None or any(vector.get(w) for w in self.weights if w != place):
                return self._refused(weight)
            whole = all(x.denominator == 1 for x in vector.values())
            if not whole or not self.signs.holds(vector):
                why = f"'{name}' has a sign that cannot be moved"
                return Cause("norm weight", weight.cause.operator, why)
            absorbed[name] = vector
        self.absorbed = absorbed
        return None

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

    def _table(self, vector: Mapping[int, Fraction]) -> Exponents:
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
