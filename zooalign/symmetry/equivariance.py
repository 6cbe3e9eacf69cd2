"""Does one operator keep the claimed action: of permuted operands, is the result permuted?

An operator is anything that takes tensors by key and returns one or several; the claim is the
:class:`~zooalign.graph.operator.Tensor` of each. This is what a rule states, so it is also the test
of a rule.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from zooalign.graph.operator import Tensor
from zooalign.symmetry.action import Action, Move
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.precision import largest_deviation, typical

__all__ = ["Disagreement", "Mover", "Operation", "Permuted", "claim_key", "tensors_of"]

K = TypeVar("K")
#: Maps the value of a tensor as is claimed of it.
Mover = Callable[[Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Disagreement:
    """Where a result is not what is claimed.

    ``result`` is the number of it (None: an operand), ``axis`` one of its axes, ``group`` the group
    that was permuted: "several" where no group alone shows it, None where nothing needs to move for
    it: the result is said to be constant along the axis, and is not.
    """

    result: int | None
    axis: int | None
    group: str | None
    deviation: float


@dataclass(frozen=True)
class Operation(Generic[K]):
    """An operator with the claim on its tensors.

    ``run`` takes values by the keys of ``operands``; it must not write into them. A value may be a
    list of tensors, and so is the claim on it; one without a claim is not permuted or compared.
    ``tolerance`` is the deviation that rounding in one operator explains.
    """

    run: Callable[[Mapping[K, Any]], Any]
    operands: Mapping[K, Any]
    results: Any
    tolerance: float

    def moving(self, action: Action) -> bool:
        """Whether any group moves an operand or a result."""
        return not all(map(action.still, self.tensors()))

    def constant(self) -> bool:
        """Whether a result is claimed not to vary along an axis of several positions."""
        return any(
            size > 1 and not axis
            for tensor in tensors_of(self.results)
            for size, axis in zip(tensor.shape, tensor.axes, strict=True)
        )

    def tensors(self) -> list[Tensor]:
        """The claims on all operands and results, one by one."""
        return tensors_of([*self.operands.values(), self.results])

    def deviations(
        self,
        move: Mover,
        values: Mapping[K, Any],
        result: Any,
        permuted: "Permuted[K] | None" = None,
    ) -> list[float]:
        """Of each result, how far it is at most from what is claimed; zero where nothing is.

        ``result`` is that on ``values``; ``permuted`` has values that are permuted already.
        """
        permuted = permuted or Permuted()
        moved = {k: permuted(move, k, self.operands.get(k), v) for k, v in values.items()}
        changed = any(moved[key] is not value for key, value in values.items())
        got = self.run(moved) if changed else result
        want = permuted(move, None, self.results, result)
        return [
            0.0
            if claim is None or torch.equal(a, b)
            else largest_deviation(a, b, _scale(values, b))
            for claim, a, b in _pairs(self.results, got, want)
        ]

    def agrees(
        self,
        move: Mover,
        values: Mapping[K, Any],
        result: Any,
        permuted: "Permuted[K] | None" = None,
    ) -> float | None:
        """The largest deviation, or None where it is more than rounding explains."""
        largest = max(self.deviations(move, values, result, permuted), default=0.0)
        return largest if largest <= self.tolerance else None

    def disagreement(
        self, action: Action, move: Move, values: Mapping[K, Any], result: Any
    ) -> Disagreement:
        """Which group, result and axis disagree, where ``move`` does."""
        identity = action.spec.identity()
        still = self.deviations(action.move(identity), values, result)
        if max(still, default=0.0) > self.tolerance:
            return self._at(still, None, ())
        groups = {group.id: None for tensor in self.tensors() for group, _ in action.moving(tensor)}
        for name in groups:
            indices = {**identity.indices, name: move.permutation.indices[name]}
            alone = action.move(Permutation(action.spec.hash, indices))
            deviations = self.deviations(alone, values, result)
            if max(deviations, default=0.0) > self.tolerance:
                return self._at(deviations, name, _axes_of(action, self.results, name))
        return self._at(self.deviations(move, values, result), "several", ())

    def _at(
        self,
        sizes: Sequence[float],
        group: str | None,
        axes: Sequence[tuple[int, int]],
    ) -> Disagreement:
        number = max(range(len(sizes)), key=sizes.__getitem__)
        axis = next((axis for result, axis in axes if result == number), None)
        if group is None:
            tensor = tensors_of(self.results)[min(number, len(tensors_of(self.results)) - 1)]
            axis = next(n for n, a in enumerate(tensor.axes) if not a and tensor.shape[n] > 1)
        return Disagreement(number, axis, group, sizes[number])


def claim_key(action: Action, operands: Mapping[Any, Any], results: Any) -> Hashable:
    """Equal for operands and results with the same sets at the same places, whatever their names.

    The same operator makes the same claim for them.
    """
    names: dict[str, int] = {}

    def named(name: str) -> int:
        return names.setdefault(name, len(names))

    def places(tensor: Tensor) -> Hashable:
        constant = tuple(not axis for axis in tensor.axes)
        members = action.moving(tensor)
        return (
            tensor.shape,
            constant,
            bool(tensor.labels),
            *((named(g.id), g.size, tuple(map(named, g.over)), m) for g, m in members),
        )

    return tuple(
        tuple(places(tensor) for tensor in tensors_of(claim))
        for claim in (*operands.values(), results)
    )


def tensors_of(claim: Any) -> list[Tensor]:
    """The tensors of a claim on one or several values; those that have none are left out."""
    if isinstance(claim, (list, tuple)):
        return [tensor for part in claim for tensor in tensors_of(part)]
    return [claim] if isinstance(claim, Tensor) else []


class Permuted(Generic[K]):
    """Permuted values, each made when first asked for and kept for all operators that read it."""

    def __init__(self, result: K | None = None, known: dict[Any, Any] | None = None) -> None:
        self.result = result
        self.known = {} if known is None else known

    def of(self, result: K) -> "Permuted[K]":
        """The same values; that of key None is the result of an operator, of another key."""
        return Permuted(result, self.known)

    def __call__(self, move: Mover, key: K | None, claim: Any, value: Any) -> Any:
        """The value of ``key`` as ``move`` permutes it; the value itself where nothing moves."""
        place = (self.result if key is None else key, id(move))
        if place not in self.known:
            self.known[place] = _permuted(move, claim, value)
        return self.known[place]

    def keep_first(self, key: K) -> None:
        """Of a list of results, the first alone is the value of ``key``: others are not read."""
        for place, value in self.known.items():
            if place[0] == key and isinstance(value, list):
                self.known[place] = value[0]

    def drop(self, key: K, move: Move | None = None) -> None:
        """Forget all of one key, or what one move makes of it."""
        for place in [place for place in self.known if place[0] == key]:
            if move is None or place[1] == id(move):
                del self.known[place]


def _scale(values: Mapping[Any, Any], want: torch.Tensor) -> float:
    """What deviations are relative to beside the values: a usual magnitude of what is computed."""
    operands = [typical(v) for value in values.values() for v in _floating(value)]
    return max(min(operands, default=0.0), typical(want))


def _pairs(
    claims: Any, got: Any, want: Any
) -> Iterator[tuple[Tensor | None, torch.Tensor, torch.Tensor]]:
    """Each result with what is claimed of it, and the claim."""
    if not isinstance(want, (list, tuple)):
        got, want = [got], [want]
    claims = claims if isinstance(claims, (list, tuple)) else [claims]
    for number, value in enumerate(want):
        if isinstance(value, torch.Tensor):
            yield claims[number] if number < len(claims) else None, got[number], value


def _permuted(move: Mover, claim: Any, value: Any) -> Any:
    if isinstance(claim, (list, tuple)) and isinstance(value, (list, tuple)):
        padded = [*claim, *[None] * (len(value) - len(claim))]
        return [_permuted(move, c, v) for c, v in zip(padded, value, strict=True)]
    if isinstance(claim, Tensor) and isinstance(value, torch.Tensor):
        return move(claim, value)
    return value


def _floating(value: Any) -> list[torch.Tensor]:
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [
        v
        for v in listed
        if isinstance(v, torch.Tensor) and (v.is_floating_point() or v.is_complex())
    ]


def _axes_of(action: Action, results: Any, name: str) -> list[tuple[int, int]]:
    """(number of a result, axis) where a group moves."""
    return [
        (number, member.axis)
        for number, tensor in enumerate(tensors_of(results))
        for group, member in action.members(tensor)
        if group.id == name
    ]
