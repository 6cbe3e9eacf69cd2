"""What a rule sees of one operator: its arguments as tensors with axes, and ways to relate them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from zooalign.graph.index_sets import Axis, Cause, IndexSets
from zooalign.graph.notation import AxisPattern, Factor, Operand, names, parse
from zooalign.graph.statement import Named, Statement, roles_of
from zooalign.graph.tensor import Tensor

__all__ = ["Operator", "Result", "Tensor", "Values"]


#: What a rule returns: a tensor for each result, the only one alone or in a list.
Result = Tensor | Sequence[Tensor] | None


@dataclass(frozen=True)
class Values:
    """What is known about the values of a call's operands, beside their shapes.

    ``boolean`` are the names of boolean tensors, or lists of them; ``dense`` of those that are all
    of their storage, row by row. ``ties`` says that values among which the call chooses may be
    equal, ``order_is_seen`` that others see in which order it names what it chose; ``overwritten``
    that nothing reads the result before all of it is written. ``unread`` are the numbers of results
    that nothing reads. ``reorders`` says that the only table of numbers is a constant with each
    number once.
    """

    boolean: frozenset[str] = frozenset()
    dense: frozenset[str] = frozenset()
    ties: bool = True
    order_is_seen: bool = True
    overwritten: bool = False
    unread: frozenset[int] = frozenset()
    reorders: bool = False


class Operator:
    """One call in the graph, while its rule runs.

    ``name`` is that of the operator (``aten.linear.default``), ``node`` that of the call, for
    reasons and explanations. ``arguments`` has all of them by their name in the operator's schema,
    defaults filled in. ``results`` are the shapes of the results, ``sets`` the index sets of the
    whole graph. It notes which arguments its rule looks at: :meth:`unread` has the others.
    ``roles`` are those that the rule gives (:mod:`zooalign.graph.statement`), ``statements`` what
    it has said so far.
    """

    def __init__(
        self,
        sets: IndexSets,
        name: str,
        node: str,
        arguments: Mapping[str, Any],
        results: Sequence[tuple[int, ...]],
        values: Values = Values(),
        roles: str = "",
    ) -> None:
        self.sets = sets
        self.name = name
        self.node = node
        self.arguments = arguments
        self.results = tuple(results)
        self.values = values
        self.roles = roles
        self.statements: list[Statement] = []
        self.formal: set[str] = set()  # names of arguments of which no value matters
        self._read: set[str] = set()

    def within(self, *results: tuple[int, ...]) -> "Operator":
        """The same call for a step inside of it, with results of these shapes."""
        inner = Operator(self.sets, self.name, self.node, self.arguments, results, self.values)
        inner.statements = self.statements
        return inner

    def __getitem__(self, argument: str) -> Any:
        self._read.add(argument)
        return self.arguments[argument]

    def get(self, argument: str, default: Any = None) -> Any:
        """An argument by name, or a default where the operator's overload has none of that name."""
        self._read.add(argument)
        return self.arguments.get(argument, default)

    def first(self) -> Tensor:
        """The first tensor argument."""
        name = next(n for n, value in self.arguments.items() if isinstance(value, Tensor))
        first: Tensor = self[name]
        return first

    def tensors(self) -> list[Tensor]:
        """All tensor arguments, those inside lists too."""
        self._read.update(self.arguments)
        return self.operands()

    def only_form(self, *arguments: str) -> None:
        """State that of these arguments the shape or type matters, and no value."""
        self._read.update(arguments)
        self.formal.update(arguments)

    def operands(self) -> list[Tensor]:
        """All tensor arguments, for what is done with any operator: no rule has seen them yet."""
        return [tensor for value in self.arguments.values() for tensor in _tensors(value)]

    def unread(self) -> list[str]:
        """Names of the arguments with tensors that the rule has not looked at."""
        return [n for n, v in self.arguments.items() if n not in self._read and _tensors(v)]

    def cause(self, kind: str, detail: str = "") -> Cause:
        """A reason that names this operator."""
        return Cause(kind, f"{self.name} '{self.node}'", detail)

    def tensor(
        self, axes: Sequence[Axis], result: int = 0, *, batch: Iterable[Axis] = ()
    ) -> Tensor:
        """A result with these axes, of which the operands may share some.

        The operator works on each position of the axes in ``batch`` alone: other sets may have an
        order for each of their values. On all other axes, of operands and of this result, nothing
        may depend.
        """
        kept = {self.sets.digits(axis) for axis in batch} - {()}
        tensor = self.shaped(self.results[result], axes)
        for each in (*self.operands(), tensor):
            aligned = [axis for axis in each.axes if self.sets.digits(axis) in kept]
            self.sets.bound(aligned)
            for axis in each.axes:
                if axis and self.sets.digits(axis) not in kept:
                    self.sets.bound([*aligned, axis])
        return tensor

    def moved(self, axes: Sequence[Axis], result: int = 0) -> Tensor:
        """A result with these axes, in which every position is a copy of one of an operand.

        What belongs to a position goes with it, so every dependence stays. The same holds where
        positions are computed one by one, from those at the same place.
        """
        return self.shaped(self.results[result], axes)

    def shaped(self, shape: Sequence[int], axes: Sequence[Axis]) -> Tensor:
        """As :meth:`moved`, for a tensor inside the operator that is not a result."""
        shape = tuple(shape)
        if len(shape) != len(axes):
            raise ValueError(f"{self.name} '{self.node}': {len(axes)} axes for shape {shape}")
        return Tensor(shape, self.sets.register(axes))

    def apart(self, tensor: Tensor, number: int) -> None:
        """State that nothing beside axis ``number`` may depend on its positions."""
        self.sets.bound([axis for n, axis in enumerate(tensor.axes) if n != number])

    def fix(self, axes: Iterable[Axis], kind: str, detail: str = "") -> None:
        """State that this operator tells the positions of axes apart."""
        cause = self.cause(kind, detail)
        for axis in axes:
            self.sets.fix(axis, cause)

    def same_axis(self, left: Axis, right: Axis) -> Axis:
        """State that two axes are one; where one tensor does not vary along it, the other's."""
        if left and right:
            self.sets.unify_axes(left, right)
        return left or right

    def fixed_axis(self, size: int, kind: str, detail: str = "") -> Axis:
        """A new axis whose positions this operator tells apart."""
        return self.sets.axis(size, self.cause(kind, detail))

    def varying(self, tensor: Tensor, number: int) -> Axis:
        """Axis ``number`` with an atom of its own where the tensor does not vary along it."""
        axis = tensor.axes[number]
        return axis if axis or tensor.shape[number] == 1 else self.sets.axis(tensor.shape[number])

    def freeze(self, kind: str, detail: str = "") -> list[Tensor]:
        """Fix all axes of all operands; the results get new fixed axes."""
        for tensor in self.tensors():
            self.fix((*tensor.axes, tensor.labels), kind, detail)
        return [
            self.tensor([self.fixed_axis(n, kind, detail) for n in shape], number)
            for number, shape in enumerate(self.results)
        ]

    # ------------------------------------------------------------------ the notation

    def relate(
        self,
        expression: str,
        *operands: Tensor | None,
        fixed: str = "position",
        sizes: Mapping[str, int] | None = None,
        roles: str | None = None,
    ) -> Tensor:
        """Relate operands by an axis expression (:mod:`zooalign.graph.notation`).

        ``fixed`` is the kind of reason given for axes marked ``!``; ``sizes`` are those of names
        that products need, e.g. the number of groups. ``roles`` are those of the operands, where
        the rule's own do not say them. Only an optional operand may be None.

        Returns
        -------
        The first result; :meth:`relate_all` gives all of them.
        """
        return self.relate_all(expression, *operands, fixed=fixed, sizes=sizes, roles=roles)[0]

    def relate_all(
        self,
        expression: str,
        *operands: Tensor | None,
        fixed: str = "position",
        sizes: Mapping[str, int] | None = None,
        roles: str | None = None,
    ) -> list[Tensor]:
        """As :meth:`relate`, with the tensors of all right-hand sides."""
        pattern = parse(expression)
        if len(operands) != len(pattern.operands):
            raise ValueError(f"{expression!r} takes {len(pattern.operands)} operands")
        pairs = list(zip(pattern.operands, operands, strict=True))
        if any(tensor is None and not operand.optional for operand, tensor in pairs):
            raise ValueError(f"{expression!r}: an operand of '{self.node}' is missing")
        given = [(operand, tensor) for operand, tensor in pairs if tensor is not None]
        binding = _Binding(self, expression, fixed, dict(sizes or {}))
        for operand, tensor in given:
            binding.bind(operand, tensor)
        results = [binding.result(right, number) for number, right in enumerate(pattern.results)]
        together = [*given, *zip(pattern.results, results, strict=True)]
        binding.bound(together)
        said = roles_of(self.roles if roles is None else roles, len(pairs))
        self.statements.append(
            binding.statement(said, pairs, list(zip(pattern.results, results, strict=True)))
        )
        return results

    def relate_elementwise(
        self, operands: Sequence[Tensor], result: Tensor, roles: str | None = None
    ) -> None:
        """Note that the result is computed position by position from operands that broadcast."""

        def named(tensor: Tensor) -> Named:
            axes = zip(names(tensor.ndim), tensor.shape, strict=True)
            return Named(tensor, tuple(((name, size),) for name, size in axes))

        said = roles_of(self.roles if roles is None else roles, len(operands))
        self.statements.append(Statement(said, tuple(map(named, operands)), (named(result),)))


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, Tensor)]


def _factors(tensors: Iterable[tuple[Operand, Tensor]]) -> Iterator[Factor]:
    return (factor for operand, _ in tensors for axis in operand.axes for factor in axis.factors)


class _Binding:
    """Names of one expression, bound to axes."""

    def __init__(self, op: Operator, text: str, kind: str, sizes: dict[str, int]) -> None:
        self.op, self.sets, self.text, self.kind, self.sizes = op, op.sets, text, kind, sizes
        self.axes: dict[str, Axis] = {}
        self.stars: dict[str, list[tuple[int, Axis]]] = {}

    def bind(self, operand: Operand, tensor: Tensor) -> None:
        """Bind one operand's names to a tensor's axes, equating what is bound already."""
        for pattern, numbers in self._spread(operand, tensor.ndim):
            axes = [(tensor.shape[n], tensor.axes[n]) for n in numbers]
            if pattern.star:
                self._bind_star(pattern.factors[0], axes)
            elif len(pattern.factors) == 1:
                self._bind(pattern.factors[0], *axes[0])
            else:
                self._bind_product(pattern, tensor, numbers[0])

    def _spread(self, operand: Operand, ndim: int) -> list[tuple[AxisPattern, list[int]]]:
        """Each axis pattern with the numbers of the axes it stands for."""
        extra = ndim - sum(not axis.star for axis in operand.axes)
        if extra < 0 or (extra and not any(axis.star for axis in operand.axes)):
            raise ValueError(f"{self.text!r} does not fit {ndim} axes at '{self.op.node}'")
        spread, number = [], 0
        for pattern in operand.axes:
            count = extra if pattern.star else 1
            spread.append((pattern, list(range(number, number + count))))
            number += count
        return spread

    def _bind(self, factor: Factor, size: int, axis: Axis) -> None:
        if factor.name in ("_", "1"):
            return
        if factor.fixed:
            self.sets.fix(axis, self.op.cause(self.kind))
        self.sizes.setdefault(factor.name, size)
        self.axes[factor.name] = self.op.same_axis(self.axes.get(factor.name, ()), axis)
        if size != 1:
            self.sizes[factor.name] = size

    def _bind_star(self, factor: Factor, axes: list[tuple[int, Axis]]) -> None:
        if factor.fixed:
            for _, axis in axes:
                self.sets.fix(axis, self.op.cause(self.kind))
        if factor.name not in self.stars:
            self.stars[factor.name] = axes
            return
        # Batch axes broadcast: counted from the right, an axis of one position fits any.
        known = self.stars[factor.name]
        longer, shorter = (known, axes) if len(known) >= len(axes) else (axes, known)
        lead = len(longer) - len(shorter)
        merged = list(longer[:lead])
        for (n, a), (m, b) in zip(longer[lead:], shorter, strict=True):
            merged.append((max(n, m), self.op.same_axis(a, b)))
        self.stars[factor.name] = merged

    def _bind_product(self, pattern: AxisPattern, tensor: Tensor, number: int) -> None:
        axis, size = self.op.varying(tensor, number), tensor.shape[number]
        unknown = [f for f in pattern.factors if f.name not in self.sizes]
        if len(unknown) > 1:
            raise ValueError(f"{self.text!r}: sizes of {[f.name for f in unknown]} are not known")
        for factor in unknown:
            others = prod(self.sizes[f.name] for f in pattern.factors if f is not factor)
            self.sizes[factor.name] = size // others
        for factor in reversed(pattern.factors[1:]):
            axis, inner = self.sets.factor(axis, self.sizes[factor.name])
            self._bind(factor, self.sizes[factor.name], inner)
        self._bind(pattern.factors[0], self.sizes[pattern.factors[0].name], axis)

    def bound(self, tensors: Sequence[tuple[Operand, Tensor]]) -> None:
        """State for each name what it may depend on: the names that are with it in all tensors.

        Not on names that are told apart (``!``) or combined (``~``); on those that are reduced
        (``[]``) only if it is reduced with them. A tensor that does not vary along an axis does not
        have its name: what stands there in another tensor may stand elsewhere in this one.
        """
        closed: set[str] = set()
        reduced: set[str] = set()
        for factor in _factors(tensors):
            if factor.fixed or factor.combined:
                closed.add(factor.name)
            elif factor.inside:
                reduced.add(factor.name)
        present = [self._places(operand, tensor) for operand, tensor in tensors]
        for place in dict.fromkeys(place for places in present for place in places):
            having = [places for places in present if place in places]
            hidden = closed | (set() if place[0] in reduced else reduced)
            shared = [
                other
                for other in having[0]
                if other == place
                or (other[0] not in hidden and all(other in places for places in having))
            ]
            if len(having) > 1 or shared != having[0]:  # else that tensor itself says it
                self.sets.bound([self._axis_at(other) for other in shared])

    def statement(
        self,
        roles: Sequence[str],
        operands: Sequence[tuple[Operand, Tensor | None]],
        results: Sequence[tuple[Operand, Tensor]],
    ) -> Statement:
        """The expression with its roles, on tensors; operands that are absent are left out."""
        given = [(operand, tensor) for operand, tensor in operands if tensor is not None]
        named = [self._named(operand, tensor) for operand, tensor in given]
        out = [self._named(operand, tensor) for operand, tensor in results]
        factors = list(_factors([*given, *results]))
        inside = {factor.name for factor in factors if factor.inside}
        combined = {factor.name for factor in factors if factor.fixed or factor.combined}
        names = {name for each in (*named, *out) for axis in each.axes for name, _ in axis}
        kept = [role for role, (_, t) in zip(roles, operands, strict=False) if t is not None]
        return Statement(
            tuple(kept),
            tuple(named),
            tuple(out),
            frozenset(name for name in names if name.partition("*")[0] in inside),
            frozenset(name for name in names if name.partition("*")[0] in combined),
        )

    def _named(self, operand: Operand, tensor: Tensor) -> Named:
        """A tensor with the names of its axes; ``_`` and ``1`` are names of their own each time."""
        axes: dict[int, tuple[tuple[str, int], ...]] = {}
        for pattern, numbers in self._spread(operand, tensor.ndim):
            for count, number in enumerate(reversed(numbers)):
                size = tensor.shape[number]
                if pattern.star:
                    axes[number] = ((f"{pattern.factors[0].name}*{count}", size),)
                elif len(pattern.factors) > 1:
                    sizes = [self.sizes.get(factor.name, 0) for factor in pattern.factors]
                    if 0 in sizes:  # the one that the result's size tells
                        known = prod(n for n in sizes if n)
                        sizes = [n or size // known for n in sizes]
                    named = zip(pattern.factors, sizes, strict=True)
                    axes[number] = tuple((factor.name, n) for factor, n in named)
                else:
                    name = pattern.factors[0].name
                    axes[number] = ((f"{name}{id(tensor)}" if name in "_1" else name, size),)
        return Named(tensor, tuple(axes[number] for number in range(tensor.ndim)))

    def _places(self, operand: Operand, tensor: Tensor) -> list[tuple[str, int]]:
        """The names along which a tensor varies; those of a star are counted from the right."""
        places: list[tuple[str, int]] = []
        for pattern, numbers in self._spread(operand, tensor.ndim):
            for count, number in enumerate(reversed(numbers)):
                if tensor.axes[number]:
                    places.extend((factor.name, count) for factor in pattern.factors)
        return places

    def _axis_at(self, place: tuple[str, int]) -> Axis:
        name, count = place
        if name in self.stars:
            return self.stars[name][-1 - count][1]
        return self.axes.get(name, ())

    def result(self, operand: Operand, number: int) -> Tensor:
        """The tensor a right-hand side describes."""
        shape = self.op.results[number]
        axes: list[Axis] = []
        for pattern, numbers in self._spread(operand, len(shape)):
            if pattern.star:
                axes.extend(self._result_star(pattern.factors[0], [shape[n] for n in numbers]))
                continue
            (n,) = numbers
            whole: Axis = ()
            for factor in pattern.factors:
                whole += self._result_axis(factor, shape[n], pattern)
            axes.append(whole)
        return self.op.moved(axes, number)

    def _result_star(self, factor: Factor, sizes: list[int]) -> list[Axis]:
        if factor.name in self.stars and len(self.stars[factor.name]) == len(sizes):
            return [axis for _, axis in self.stars[factor.name]]
        cause = self.op.cause(self.kind) if factor.fixed else None
        return [self.sets.axis(n, cause) for n in sizes]

    def _result_axis(self, factor: Factor, size: int, pattern: AxisPattern) -> Axis:
        if factor.name in self.axes:
            axis = self.axes[factor.name]
            if not axis and len(pattern.factors) > 1:  # not varying, still a factor of the size
                return self.sets.axis(self.sizes[factor.name])
            return axis
        if factor.name == "1":
            return ()
        size //= prod(self.sizes[f.name] for f in pattern.factors if f is not factor)
        return self.sets.axis(size, self.op.cause(self.kind) if factor.fixed else None)
