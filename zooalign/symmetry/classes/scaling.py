"""From what rules say about values to equations on exponents, and to levels of linear maps.

Under a scale ``s`` of a unit of a group its elements at a place are multiplied by ``s ** e``; under
a change of its sign by -1 where ``e`` is odd. Each statement of a rule is read on the space of its
names: in it, operands and results with the same units along the same names belong together. So the
notation says what is what:

- units in two operands, summed: contracted, ``e + e' = 0``, and any invertible map is allowed;
- in one operand and the result: kept, ``e = e'``, and any invertible map is allowed;
- in several operands and the result: told apart one by one, the exponents add up;
- in the result alone, or summed alone: all alike, ``e = 0``, which maps that fix ones keep.

Roles (:mod:`zooalign.graph.statement`) say the rest. Whatever is not said is ``e = 0`` and unit by
unit, which leaves permutations.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from torch import fx

from zooalign.graph.arguments import named_arguments
from zooalign.graph.build import Traced
from zooalign.graph.exported import seen_elsewhere, writes
from zooalign.graph.index_sets import Cause
from zooalign.graph.statement import COPY, Statement
from zooalign.graph.tensor import Tensor
from zooalign.symmetry.action import Action
from zooalign.symmetry.classes.copies import copied
from zooalign.symmetry.classes.levels import Level, Lowered
from zooalign.symmetry.classes.named_units import RESULT, Alike, alike
from zooalign.symmetry.classes.null_space import Equations
from zooalign.symmetry.classes.places import Occurrence, Places
from zooalign.symmetry.equivariance import tensors_of
from zooalign.symmetry.node_run import is_real

__all__ = ["Scaling", "Weight", "scaling"]

# By role, how the exponents of the result follow: of scales, of signs. None: it must be zero.
_EXPONENTS: dict[str, tuple[int | None, int | None]] = {
    "factor": (1, 1),
    "term": (1, 1),
    "divisor": (-1, 1),
    "positive": (1, None),
    "largest": (1, None),
    "absolute": (1, 0),
    "length": (1, 0),
    "odd": (None, 1),
    "rms": (None, 1),
    "centred": (None, 1),
    "standardised": (None, 1),
    "mean": (None, 1),
    "even": (None, 0),
}
# Roles that see the units in brackets together, with what they leave to these.
_TOGETHER = {
    "rms": Level.ORTHOGONAL,
    "length": Level.ORTHOGONAL,
    "centred": Level.FIXING_ONES,
}
_LINEAR = ("factor", "term")
_GETITEM = "<built-in function getitem>"
_UNKNOWN = "nothing is known of values"
# Numbers among the arguments that are added like a tensor.
_ADDED = ("self", "other", "value")


@dataclass(frozen=True)
class Weight:
    """A parameter that multiplies a group unit by unit, as the weight of a norm does.

    ``place`` is that of the parameter. Only maps that work unit by unit are left, unless all such
    weights of the group are made one.
    """

    place: int
    cause: Cause


def _binary() -> Equations[int]:
    return Equations(binary=True)


@dataclass
class Scaling:
    """What the operators of a graph say of places, by group; it grows while they are read.

    ``zeros`` are the places that an operator says are not multiplied, ``ties`` those that one says
    are multiplied as each other, or inversely; both for explanations. ``numbered`` are groups whose
    units are named by number somewhere. ``origins`` are the places in parameters of places that
    hold copies of these, and of themselves.
    """

    places: Places
    scales: dict[str, Equations[int]] = field(default_factory=lambda: defaultdict(Equations))
    signs: dict[str, Equations[int]] = field(default_factory=lambda: defaultdict(_binary))
    lowered: dict[str, list[Lowered]] = field(default_factory=lambda: defaultdict(list))
    weights: dict[str, list[Weight]] = field(default_factory=lambda: defaultdict(list))
    zeros: dict[int, Cause] = field(default_factory=dict)
    ties: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    numbered: dict[str, Cause] = field(default_factory=dict)
    origins: dict[int, int] = field(default_factory=dict)
    # Squares of units, and what reads them: sums over all units, which with them are lengths, and
    # other operators (None). Those that are only read by sums are a part of a length.
    squares: dict[int, Lowered] = field(default_factory=dict)
    lengths: set[int] = field(default_factory=set)
    reads: dict[int, list[Lowered | None]] = field(default_factory=lambda: defaultdict(list))

    def lower(self, group: str, level: Level, cause: Cause) -> None:
        """State that an operator leaves only maps of a level."""
        self.lowered[group].append(Lowered(level, cause))

    def tie(self, first: int, second: int) -> None:
        """Note that what multiplies one place multiplies the other, or divides it."""
        self.ties[first].append(second)
        self.ties[second].append(first)

    def zero(self, group: str, place: int, cause: Cause, *, sign: bool = True) -> None:
        """State that a scale leaves a place as it is; so does a sign, if ``sign``."""
        self.zeros.setdefault(place, cause)
        self.scales[group].state({place: 1})
        if sign:
            self.signs[group].state({place: 1})

    def relate(
        self, group: str, scales: Mapping[int, int | Fraction], signs: Mapping[int, int | Fraction]
    ) -> None:
        """State one equation on the exponents of places, of scales and of signs."""
        self.scales[group].state(scales)
        self.signs[group].state(signs)
        counted = [place for place, x in scales.items() if x]
        if len(counted) == 2:
            self.tie(*counted)

    def inherit(self, pairs: Iterable[tuple[int, ...]]) -> None:
        """State that the second place of each pair holds copies of the first, and of no other."""
        sources: dict[int, set[int | None]] = defaultdict(set)
        for source, target in pairs:
            sources[target].add(self.origins.get(source))
        for target, origins in sources.items():
            origin = origins.pop()
            if not origins and origin is not None:
                self.origins[target] = origin

    def close(self, occurrence: Occurrence, cause: Cause) -> None:
        """State that an operator uses units in a way that is not known."""
        for place in occurrence.places:
            self.reads[place].append(None)
            self.zero(occurrence.group.id, place, cause)
        self.lower(occurrence.group.id, Level.MONOMIAL, cause)

    def settle(self) -> None:
        """Squares that only sums over all their units read are lengths: nothing else is seen."""
        for place, reads in self.reads.items():
            lowered = self.lowered[self.places.known[place].group]
            sums = [read for read in reads if read is not None]
            square = self.squares.pop(place, None)
            if square is not None and len(sums) == len(reads):
                cause = replace(
                    square.cause, kind="length", detail="squares, summed over all units"
                )
                lowered.append(Lowered(Level.ORTHOGONAL, cause))
                self.lengths.add(place)
            else:
                lowered.extend(sums if square is None else (square, *sums))
        for place, square in self.squares.items():  # that nothing reads
            self.lowered[self.places.known[place].group].append(square)


def scaling(traced: Traced, action: Action) -> Scaling:
    """Read all statements of a traced graph.

    Raises
    ------
    SpecError
        If the index sets of a tensor do not say what moves in it.
    """
    result = Scaling(Places(action))
    for each in (traced, *traced.also):
        reader = _Reader(each, result)
        for node in each.captured.graph.nodes:
            if node.op == "output" or node.name in each.values:
                reader.node(node)
    result.settle()
    return result


class _Reader:
    """Goes through the nodes of a graph in order."""

    def __init__(self, traced: Traced, result: Scaling) -> None:
        self.traced, self.result, self.places = traced, result, result.places
        self.order = {node: n for n, node in enumerate(traced.captured.graph.nodes)}

    def node(self, node: fx.Node) -> None:
        """Read what one node says."""
        results = tensors_of(self.traced.values.get(node.name))
        for tensor in results:
            self._layout(node, tensor)
        if node.op == "placeholder":
            if node.name in self.traced.captured.parameters:
                for tensor in results:
                    self.result.origins.update((n, n) for n in self.places.numbers(tensor))
            else:
                self._close(results, Cause("input", f"'{node.name}'", "not a parameter"))
        elif node.op == "output":
            cause = Cause("output", "the network's output", "or what a call leaves for the next")
            for part in node.all_input_nodes:
                self._close(tensors_of(self.traced.values.get(part.name)), cause)
        elif str(node.target) != _GETITEM:
            self._call(node, results)

    def _layout(self, node: fx.Node, tensor: Tensor) -> None:
        """Units that stand in parts or are named by number can only be permuted."""
        where = f"'{self.traced.captured.parameters.get(node.name, node.name)}'"
        for place in self.places.numbers(tensor):
            if not self.places.known[place].whole:
                cause = Cause("units in parts", where, "not all of them stand side by side")
                self.result.lower(self.places.known[place].group, Level.MONOMIAL, cause)
        for group, _ in self.places.action.renumbered(tensor):
            self.result.numbered.setdefault(group.id, Cause("index", where, "units by number"))

    def _close(self, tensors: Sequence[Tensor], cause: Cause) -> None:
        for tensor in tensors:
            for occurrence in self.places.of(tensor):
                self.result.close(occurrence, cause)

    def _call(self, node: fx.Node, results: Sequence[Tensor]) -> None:
        values = self.traced.values
        said = self.traced.said[node.name]
        given = named_arguments(node, node.args, node.kwargs)
        formal = {id(given[name]) for name in said.formal if name in given}
        operands = {
            part: values[part.name]
            for part in node.all_input_nodes
            if isinstance(values.get(part.name), Tensor) and id(part) not in formal
        }
        touched = (*operands.values(), *results)
        if not any(self.places.of(tensor) for tensor in touched):
            return
        cause = Cause(_UNKNOWN, f"{node.target} '{node.name}'")
        written = writes(node) and seen_elsewhere(node, self.order)
        if written or not self._real(node, operands, results):
            self._close(touched, cause)
        elif said.roles == COPY:
            self._copy(node, operands, results, cause)
        else:
            self._statements(node, operands, results, said.statements)

    def _real(
        self, node: fx.Node, operands: dict[fx.Node, Tensor], results: Sequence[Tensor]
    ) -> bool:
        """Whether all that units stand in are real numbers."""
        parts = [part for part, tensor in operands.items() if self.places.of(tensor)]
        if any(self.places.of(tensor) for tensor in results):
            parts.append(node)
        return all(map(is_real, parts))

    # ------------------------------------------------------------------ copies

    def _copy(
        self,
        node: fx.Node,
        operands: dict[fx.Node, Tensor],
        results: Sequence[Tensor],
        cause: Cause,
    ) -> None:
        if _adds_a_number(node):
            self._close((*operands.values(), *results), cause)
            return
        try:
            moved = list(copied(node, operands, results, self.places))
        except RuntimeError:
            self._close((*operands.values(), *results), cause)
            return
        for each in moved:
            for source, target in each.pairs:
                same = {source: 1, target: -1}
                self.result.relate(each.group, same, same)
                self.result.reads[source].append(None)
            self.result.inherit(each.pairs)
            for place in each.lost:
                self.result.zero(each.group, place, cause)
                self.result.lower(each.group, Level.MONOMIAL, cause)

    # ------------------------------------------------------------------ statements

    def _statements(
        self,
        node: fx.Node,
        operands: dict[fx.Node, Tensor],
        results: Sequence[Tensor],
        statements: Sequence[Statement],
    ) -> None:
        cause = Cause(_UNKNOWN, f"{node.target} '{node.name}'")
        known = {id(tensor) for tensor in operands.values()}
        read: set[int] = set()
        computed: set[int] = set()
        for statement in statements:
            tensors = [named.tensor for named in (*statement.operands, *statement.results)]
            sources = {id(named.tensor) for named in statement.operands}
            if not statement.roles or not sources <= known or len(statement.results) != 1:
                self._close(tensors, cause)
                continue
            known.add(id(statement.results[0].tensor))
            computed.add(id(statement.results[0].tensor))
            read |= sources
            _StatementReader(self, node, statement).read()
        self._close([t for t in operands.values() if id(t) not in read], cause)
        self._close([t for t in results if id(t) not in computed], cause)


def _adds_a_number(node: fx.Node) -> bool:
    given = named_arguments(node, node.args, node.kwargs)
    return any(isinstance(given.get(n), int | float | complex) and given[n] for n in _ADDED)


class _StatementReader:
    """Reads one statement with its roles."""

    def __init__(self, reader: _Reader, node: fx.Node, statement: Statement) -> None:
        self.reader, self.result, self.node = reader, reader.result, node
        self.statement, self.roles = statement, statement.roles
        self.in_result = {name for axis in statement.results[0].axes for name, n in axis if n > 1}

    def cause(self, kind: str, detail: str = "") -> Cause:
        """A reason that names the operator."""
        return Cause(kind, f"{self.node.target} '{self.node.name}'", detail)

    def read(self) -> None:
        """State the equations of the product, and of each term."""
        numbers = range(len(self.roles))
        for number in numbers:
            if self.roles[number] == "still":
                self._close(self.reader.places.of(self.statement.operands[number].tensor))
        product = [n for n in numbers if self.roles[n] not in ("term", "still", "mean")]
        if product:
            self._summand(product)
        elif "term" not in self.roles:
            self._close(self.reader.places.of(self.statement.results[0].tensor))
        for number in numbers:
            if self.roles[number] == "term":
                self._summand([number])
        if "term" in self.roles and _adds_a_number(self.node):
            self._summand([])
        if "mean" in self.roles:
            self._stored_mean(product[0], self.roles.index("mean"))

    def _close(self, occurrences: Sequence[Occurrence]) -> None:
        for occurrence in occurrences:
            self.result.close(occurrence, self.cause(_UNKNOWN))

    def _alike(self, operands: Sequence[int]) -> list[Alike]:
        clear, unclear = alike(self.statement, operands, self.reader.places)
        self._close(unclear)
        return clear

    def _stored_mean(self, x: int, mean: int) -> None:
        """A stored mean changes its sign with what it is the mean of."""
        for each in self._alike([x, mean]):
            for occurrence in each.occurrences(mean):
                for place in occurrence.places:
                    self.result.zero(
                        each.group, place, self.cause("fixed scale", "mean"), sign=False
                    )
            if sorted(each.operands) != sorted([x, mean]):
                self._nothing(each, Level.MONOMIAL, "the stored mean")
                continue
            for first, second in each.rows():
                self.result.signs[each.group].state({first: 1, second: 1})

    # ------------------------------------------------------------------ one summand

    def _summand(self, operands: Sequence[int]) -> None:
        """State that a product of operands, which is one summand, is multiplied as the result."""
        for each in self._alike([*operands, RESULT]):
            ins = [n for n in each.operands if n != RESULT]
            outs = len(each.operands) - len(ins)
            summed = not each.names & self.in_result
            if len(ins) == 1 and not outs and summed:
                self._sum(each, self.roles[ins[0]])
                continue
            for number in ins:
                self._role(each, number)
            if (len(ins), outs) == (1, 1) or (len(ins) == 2 and not outs and summed):
                self._exponents(each)
                if len(self.roles) == 1 and self.roles[0] in _LINEAR and outs:
                    self.result.inherit(each.rows())  # another type, or negated
            elif len(ins) > 1 and outs == 1:
                self._exponents(each)
                self._one_by_one(each, ins)
            elif outs and not ins:
                self._nothing(each, Level.FIXING_ONES, "a summand alike for all units")
            else:
                self._nothing(each, Level.MONOMIAL, "units in several places of one tensor")

    def _nothing(self, each: Alike, level: Level, detail: str) -> None:
        """State that scales and signs leave all places as they are."""
        cause = self.cause("added" if level > Level.MONOMIAL else "layout", detail)
        for row in each.rows():
            for place in row:
                self.result.zero(each.group, place, cause)
        self.result.lower(each.group, level, cause)

    def _sum(self, each: Alike, role: str) -> None:
        """A sum over all units, or their length, or something else that is read of all of them."""
        together = each.names <= self.statement.inside
        for (place,) in each.rows():
            cause = self.cause("fixed scale", role)
            self.result.zero(each.group, place, cause, sign=role != "length")
            read = Lowered(Level.FIXING_ONES, self.cause("sum", "over all units"))
            self.result.reads[place].append(read if role in _LINEAR else None)
        if role not in _LINEAR:
            level = _TOGETHER.get(role, Level.MONOMIAL) if together else Level.MONOMIAL
            self.result.lower(
                each.group, level, self.cause("norm" if together else "nonlinear", role)
            )

    def _role(self, each: Alike, number: int) -> None:
        """State what the role of one operand asks of its places, and leaves of the level."""
        role = self.roles[number]
        together = role in _TOGETHER and each.names <= self.statement.inside
        scale, sign = _exponents(role)
        if together and _TOGETHER[role] == Level.FIXING_ONES:
            sign = None
        for occurrence in each.occurrences(number):
            for place in occurrence.places:
                self.result.reads[place].append(None)
                if scale is None:
                    cause = self.cause("fixed scale", role)
                    self.result.zero(each.group, place, cause, sign=False)
                if sign is None:
                    self.result.signs[each.group].state({place: 1})
        if together:
            self.result.lower(each.group, _TOGETHER[role], self.cause("norm", role))
        elif role.startswith("**") and scale == 2 and self._only_result(each):
            self._square(each)
        elif role not in _LINEAR:
            self.result.lower(each.group, Level.MONOMIAL, self.cause("nonlinear", role))

    def _only_result(self, each: Alike) -> bool:
        return each.operands.count(RESULT) == 1 and len(each.operands) == 2

    def _square(self, each: Alike) -> None:
        lowered = Lowered(Level.MONOMIAL, self.cause("nonlinear", "a square"))
        for occurrence in each.occurrences(RESULT):
            for place in occurrence.places:
                self.result.squares[place] = lowered

    def _one_by_one(self, each: Alike, ins: Sequence[int]) -> None:
        """Several operands are multiplied unit by unit: a parameter among them may become one."""
        tensors = [self.statement.operands[n].tensor for n in ins]
        factors = [n for n in ins if self.roles[n] == "factor"]
        if len(factors) == 2 and tensors[0] is tensors[1]:
            self._square(each)
            return
        cause = self.cause("product", "unit by unit")
        places = {n: [p for o in each.occurrences(n) for p in o.places] for n in factors}
        weights = [n for n in factors if all(p in self.result.origins for p in places[n])]
        if len(weights) != len(ins) - 1:
            self.result.lower(each.group, Level.MONOMIAL, cause)
            return
        origins = {self.result.origins[place] for n in weights for place in places[n]}
        for occurrence in each.occurrences(RESULT):
            for place in occurrence.places:
                for origin in origins:
                    self.result.tie(origin, place)
        self.result.weights[each.group].extend(Weight(place, cause) for place in origins)

    def _exponents(self, each: Alike) -> None:
        """State that the exponents of operands add up to that of the result, or to nothing."""
        for row in each.rows():
            scales: dict[int, Fraction] = defaultdict(Fraction)
            signs: dict[int, Fraction] = defaultdict(Fraction)
            for number, place in zip(each.operands, row, strict=True):
                role = "factor" if number == RESULT else self.roles[number]
                scale, sign = _exponents(role)
                side = -1 if number == RESULT else 1
                scales[place] += side * (scale or 0)
                signs[place] += sign or 0
            self.result.relate(each.group, scales, signs)


def _exponents(role: str) -> tuple[Fraction | None, int | None]:
    """By how much exponents of an operand count: of scales, of signs; None: they are zero."""
    if not role.startswith("**"):
        scale, sign = _EXPONENTS[role]
        return None if scale is None else Fraction(scale), sign
    power = Fraction(role.removeprefix("**"))
    return power, int(power) % 2 if power.denominator == 1 else None
