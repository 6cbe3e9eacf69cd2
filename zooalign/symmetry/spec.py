"""The permutation spec: which positions of which tensors move together. A frozen value.

A spec is a list of **groups**. A group is a symmetric group on ``size`` units; where it is nested
``over`` other groups it has an own permutation for each tuple of their units (head dims: one for
each head). Its **members** say where the units stand: for a block of a member, the element of
unit ``first + i`` in context ``(c1, c2, ...)`` stands at

    offset + stride * i + sum_k over[k].stride * (c_k - over[k].first) + repeat offsets

in the row-major flattening of the member's ``axes`` (almost always one axis). Applying groups in
the order they are listed, outer before inner, each by
``new[position of unit i] = old[position of unit p[i]]``, applies a permutation. ``docs/spec.md``
describes the file format.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import lgamma, log, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from zooalign.symmetry.permutation import Permutation

__all__ = ["Block", "Frozen", "Group", "Member", "Over", "PermutationSpec", "log10_factorial"]

FORMAT = "zooalign.permutation-spec"
VERSION = 1


def log10_factorial(n: int) -> float:
    """``log10(n!)``."""
    return lgamma(n + 1) / log(10)


@dataclass(frozen=True)
class Over:
    """Which units of an outer group a block lies in: ``count`` of them from ``first`` on."""

    stride: int
    first: int
    count: int


@dataclass(frozen=True)
class Block:
    """Positions of ``count`` consecutive units, in every context and repetition.

    ``over`` has one entry per group this one is nested over, in the group's order; ``repeat``
    lists (count, stride) of positions that move along with the unit (kernel positions of a
    flattened channel, the dims of a head).
    """

    first: int
    count: int
    offset: int
    stride: int
    over: tuple[Over, ...] = ()
    repeat: tuple[tuple[int, int], ...] = ()

    def positions(self) -> np.ndarray:
        """Positions as int64, of shape (*over counts, count, repetitions)."""
        result = np.array(self.offset, dtype=np.int64)
        for over in self.over:
            result = result[..., None] + over.stride * np.arange(over.count)
        result = result[..., None] + self.stride * np.arange(self.count)
        shape = result.shape
        for count, stride in self.repeat:
            result = result[..., None] + stride * np.arange(count)
        return result.reshape(*shape, -1)


@dataclass(frozen=True)
class Member:
    """One place where a group's units stand: a tensor of the state dict and the axis of the units.

    ``axes`` are the axes whose row-major flattening the block positions count in: ``(axis,)``
    unless the group is nested over units that lie along another axis of the same tensor.
    """

    parameter: str
    axis: int
    axes: tuple[int, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Group:
    """Interchangeable units; ``over`` names the groups (or fixed sets) it is nested in."""

    id: str
    size: int
    members: tuple[Member, ...]
    over: tuple[str, ...] = ()
    contexts: tuple[int, ...] = ()

    @property
    def copies(self) -> int:
        """How many independent permutations the group has: one per context."""
        return prod(self.contexts)

    @property
    def structure(self) -> str:
        """Such as ``S_64`` or ``S_64 in each of 3``."""
        own = f"S_{self.size}"
        if not self.over:
            return own
        inside = " x ".join(str(n) for n in self.contexts)
        return f"{own} in each of {inside} ({', '.join(self.over)})"

    @property
    def log10_order(self) -> float:
        """Base-10 logarithm of the number of permutations."""
        return self.copies * log10_factorial(self.size)


@dataclass(frozen=True)
class Frozen:
    """An axis, or part of one, that must not be permuted, with the operator that says so.

    ``positions`` are half-open ranges along the axis, None for all of it. ``partial`` says that
    the positions do move as part of a unit, but have a fixed order inside it.
    """

    parameter: str
    axis: int
    kind: str
    operator: str
    detail: str = ""
    positions: tuple[tuple[int, int], ...] | None = None
    partial: bool = False

    @property
    def reason(self) -> str:
        """One line: what told the positions apart, and where."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.kind}{detail}, at {self.operator}"


@dataclass(frozen=True)
class PermutationSpec:
    """All permutation symmetries of an architecture that are known, as a value.

    Attributes
    ----------
    shapes:
        Shape of every tensor of the state dict.
    groups:
        Outer groups before the groups nested in them.
    fixed_sets:
        Sizes of index sets that groups are nested over but that do not move themselves.
    frozen:
        Axes that do not move, each with its reason.
    unused:
        Tensors no output depends on: they are left alone.
    unknown_operators:
        Operators zooalign has no rule for, with their count; what they touch is frozen.
    buffers:
        Tensors of the state dict that are no parameters (running statistics, counters).
    tied:
        Names of the state dict that are the same tensor as another, with the first such name.
    architecture:
        A name for people; not part of the hash.
    """

    shapes: Mapping[str, tuple[int, ...]]
    groups: tuple[Group, ...]
    fixed_sets: Mapping[str, int] = field(default_factory=dict)
    frozen: tuple[Frozen, ...] = ()
    unused: tuple[str, ...] = ()
    unknown_operators: Mapping[str, int] = field(default_factory=dict)
    buffers: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""

    @cached_property
    def log10_order(self) -> float:
        """Base-10 logarithm of the order of the group: its number of permutations."""
        return sum(group.log10_order for group in self.groups)

    @cached_property
    def by_id(self) -> Mapping[str, Group]:
        """Groups by their id."""
        return {group.id: group for group in self.groups}

    @cached_property
    def by_parameter(self) -> Mapping[str, tuple[tuple[Group, Member], ...]]:
        """The members that stand in each tensor, in order of application."""
        table: dict[str, list[tuple[Group, Member]]] = {}
        for group in self.groups:
            for member in group.members:
                table.setdefault(member.parameter, []).append((group, member))
        return {name: tuple(found) for name, found in table.items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over names, shapes and groups: equal for equal symmetry, whatever the name."""
        from zooalign.symmetry.spec_file import to_dict

        body = to_dict(self)
        kept = {key: body[key] for key in ("version", "shapes", "groups", "fixed_sets")}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    # Pure functions of zooalign.symmetry.permutation, for convenience.

    def identity(self) -> "Permutation":
        """The permutation that moves nothing."""
        from zooalign.symmetry import permutation

        return permutation.identity(self)

    def random(self, seed: int = 0) -> "Permutation":
        """A uniformly random member of the group."""
        from zooalign.symmetry import permutation

        return permutation.random(self, seed)

    def apply(self, permutation: "Permutation", state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
        """A new state dict with the permutation applied; the given one is left as it is."""
        from zooalign.symmetry.apply import apply

        return apply(self, permutation, state_dict)

    def invert(self, permutation: "Permutation") -> "Permutation":
        """The permutation that undoes the given one."""
        from zooalign.symmetry.permutation import invert

        return invert(self, permutation)

    def compose(self, after: "Permutation", before: "Permutation") -> "Permutation":
        """The permutation that applies ``before``, then ``after``."""
        from zooalign.symmetry.permutation import compose

        return compose(self, after, before)

    def summary(self) -> Iterator[tuple[str, int, int]]:
        """(structure, how many groups have it, members) for a short listing."""
        seen: dict[str, list[int]] = {}
        for group in self.groups:
            key = f"S_{group.size}" + (f" in each of {group.copies}" if group.over else "")
            seen.setdefault(key, []).append(len(group.members))
        for key, members in seen.items():
            yield key, len(members), sum(members)
