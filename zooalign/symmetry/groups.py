"""What a permutation spec consists of: groups, where their units are, and frozen axes.

The fields of these types are those of the spec file (``docs/spec.md``).
"""

from math import lgamma, log, prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from zooalign.errors import SpecError

__all__ = ["Block", "Frozen", "Group", "Member", "Over", "Size", "log10_factorial", "plain"]

#: A number of positions, or of one of them.
Size = Annotated[int, Meta(ge=0, lt=2**48)]


def log10_factorial(n: int) -> float:
    """``log10(n!)``."""
    return lgamma(n + 1) / log(10)


def plain(value: Any) -> Any:
    """Lists, dicts, strings and numbers that say what a value of these types says."""
    return msgspec.json.decode(msgspec.json.encode(value))


class Over(Struct, frozen=True):
    """Which units of an outer group a block lies in: ``count`` of them from ``first`` on."""

    stride: Size
    first: Size
    count: Size


class Block(Struct, frozen=True):
    """Positions of ``count`` consecutive units, in every context and repetition.

    ``over`` has one entry per group this one is nested over, in the group's order; ``repeat``
    lists (count, stride) of positions that move along with the unit (kernel positions of a
    flattened channel, the dims of a head).
    """

    first: Size
    count: Size
    offset: Size
    stride: Size
    over: tuple[Over, ...] = ()
    repeat: tuple[tuple[Size, Size], ...] = ()

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


class Member(Struct, frozen=True, rename={"blocks": "positions"}):
    """One place of a group's units: a tensor of the state dict and the axis of the units.

    ``axes`` are the axes whose row-major flattening the block positions count in: ``(axis,)``
    unless the group is nested over units that lie along another axis of the same tensor.
    """

    parameter: str
    axis: Size
    axes: tuple[Size, ...]
    blocks: tuple[Block, ...]

    def positions(self, group: "Group") -> np.ndarray:
        """Positions of the units in ``axes``: int64 of shape (*contexts, size, repetitions).

        Raises
        ------
        SpecError
            If the blocks do not give every unit in every context as many positions.
        """
        placed = []
        for block in self.blocks:
            context = tuple(slice(o.first, o.first + o.count) for o in block.over)
            units = slice(block.first, block.first + block.count)
            placed.append(((*context, units), block.positions()))
        count = np.zeros((*group.contexts, group.size), dtype=np.int64)
        for where, positions in placed:
            count[where] += positions.shape[-1]
        if count.size == 0 or count.min() != count.max() or not count.max():
            raise SpecError(
                f"group '{group.id}' at '{self.parameter}' axis {self.axis}: its positions do "
                "not cover every unit in every context equally often"
            )
        table = np.empty((*count.shape, int(count.max())), dtype=np.int64)
        filled = np.zeros_like(count)
        for where, positions in placed:
            columns = filled[where][..., None] + np.arange(positions.shape[-1])
            np.put_along_axis(table[where], columns, positions, axis=-1)
            filled[where] += positions.shape[-1]
        return table


class Group(Struct, frozen=True):
    """Interchangeable units; ``over`` names the groups (or fixed sets) it is nested in."""

    id: str
    size: Size
    members: tuple[Member, ...]
    over: tuple[str, ...] = ()
    contexts: tuple[Size, ...] = ()

    @property
    def copies(self) -> int:
        """How many independent permutations the group has: one per context."""
        return prod(self.contexts)

    @property
    def structure(self) -> str:
        """Such as ``S_64`` or ``S_64 in each of 3``."""
        symmetric = f"S_{self.size}"
        if not self.over:
            return symmetric
        inside = " x ".join(str(n) for n in self.contexts)
        return f"{symmetric} in each of {inside} ({', '.join(self.over)})"

    @property
    def log10_order(self) -> float:
        """Base-10 logarithm of the number of permutations."""
        return self.copies * log10_factorial(self.size)

    def to_dict(self) -> dict[str, Any]:
        """The group as in the spec file (``docs/spec.md``)."""
        return {
            "id": self.id,
            "size": self.size,
            "structure": self.structure,
            "over": list(self.over),
            "contexts": list(self.contexts),
            "members": plain(self.members),
        }


class Frozen(Struct, frozen=True):
    """An axis, or part of one, that must not be permuted, with the operator that says so.

    ``positions`` are half-open ranges along the axis, None for all of it. ``partial`` says that
    the positions do move as part of a unit, but have a fixed order inside it.
    """

    parameter: str
    axis: Size
    kind: str
    operator: str
    detail: str = ""
    positions: tuple[tuple[Size, Size], ...] | None = None
    partial: bool = False

    @property
    def reason(self) -> str:
        """One line: what told the positions apart, and where."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.kind}{detail}, at {self.operator}"

    def to_dict(self) -> dict[str, Any]:
        """The entry as in the spec file (``docs/spec.md``)."""
        fields = plain(self)
        place = {name: fields.pop(name) for name in ("parameter", "axis")}
        return {**place, "reason": self.reason, **fields}
