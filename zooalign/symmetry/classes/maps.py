"""Linear maps of the units of a group, applied to one tensor. Pure: nothing is changed in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod

import torch
from torch import Tensor

from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.groups import Block, Group, Member

__all__ = ["BlockExponents", "UnitMaps", "mapped", "random_maps", "still_maps"]

# Random invertible maps are no worse conditioned, and random scales no further from one.
_CONDITION = 4.0


@dataclass(frozen=True)
class BlockExponents:
    """What the units of one block are multiplied by.

    ``linear`` is 1 for the linear map, -1 for its inverse transposed, 0 for neither; ``scales`` and
    ``signs`` have an exponent for each independent one.
    """

    linear: int
    scales: tuple[float, ...]
    signs: tuple[int, ...]

    @property
    def nothing(self) -> bool:
        """Whether nothing is multiplied."""
        return not self.linear and not any(self.scales) and not any(self.signs)


@dataclass(frozen=True, eq=False)
class UnitMaps:
    """Maps of the units of one group, in each of its contexts, in float64.

    ``linear`` has the shape (*contexts, units, units), or is None; ``scales`` (positive) and
    ``signs`` (1 or -1) have (how many, *contexts, units).
    """

    linear: Tensor | None
    scales: Tensor
    signs: Tensor

    @property
    def still(self) -> bool:
        """Whether nothing is multiplied by anything but one."""
        if self.linear is not None:
            one = torch.eye(self.linear.shape[-1], dtype=self.linear.dtype)
            if not torch.equal(self.linear, one.expand_as(self.linear)):
                return False
        return bool((self.scales == 1).all() and (self.signs == 1).all())

    def inverse(self) -> "UnitMaps":
        """The maps that undo these."""
        linear = None if self.linear is None else torch.linalg.inv(self.linear)
        return UnitMaps(linear, 1 / self.scales, self.signs)

    def times(self, before: "UnitMaps") -> "UnitMaps":
        """The maps that apply others before these."""
        linear = self.linear
        if linear is not None and before.linear is not None:
            linear = linear @ before.linear
        return UnitMaps(linear, self.scales * before.scales, self.signs * before.signs)

    def reordered(self, contexts: tuple[Tensor, ...], order: Tensor) -> "UnitMaps":
        """The same maps, of units in another order.

        ``contexts`` say for each context which one it was before, ``order`` (*contexts, units) the
        same of units.
        """
        scales, signs = (
            torch.stack([each[contexts].gather(-1, order) for each in x]) if len(x) else x
            for x in (self.scales, self.signs)
        )
        linear = self.linear
        if linear is not None:
            size = linear.shape[-1]
            rows = order[..., :, None].expand(*order.shape, size)
            columns = order[..., None, :].expand(*order.shape, size)
            linear = linear[contexts].gather(-2, rows).gather(-1, columns)
        return UnitMaps(linear, scales, signs)

    def matrix(self, exponent: int) -> Tensor | None:
        """The linear map to a power of 1, or its inverse transposed."""
        if self.linear is None or not exponent:
            return None
        return self.linear if exponent > 0 else torch.linalg.inv(self.linear).mT

    def factors(self, exponents: BlockExponents) -> Tensor | None:
        """By what each unit is multiplied, of shape (*contexts, units)."""
        powers = [
            *(scale**e for scale, e in zip(self.scales, exponents.scales, strict=True) if e),
            *(sign for sign, e in zip(self.signs, exponents.signs, strict=True) if e % 2),
        ]
        return torch.stack(powers).prod(0) if powers else None


def mapped(
    value: Tensor, group: Group, member: Member, exponents: Sequence[BlockExponents], maps: UnitMaps
) -> Tensor:
    """A tensor with the units of one member multiplied, in float64; itself where none are.

    ``exponents`` are those of the blocks of the member.
    """
    if all(e.nothing for e in exponents):
        return value
    axes = member.axes
    front = value.double().movedim(axes, tuple(range(len(axes))))
    count = prod(front.shape[: len(axes)])
    old = front.reshape(count, -1)
    new = old.clone()
    for block, exponent in zip(member.blocks, exponents, strict=True):
        if exponent.nothing:
            continue
        at = torch.from_numpy(block.positions())  # (*over counts, units, repetitions)
        new[at] = _block(old[at], block, exponent, maps)
    return new.reshape(front.shape).movedim(tuple(range(len(axes))), axes)


def _block(units: Tensor, block: Block, exponent: BlockExponents, maps: UnitMaps) -> Tensor:
    """The units of one block, of shape (*over counts, units, repetitions, rest)."""
    within = tuple(slice(over.first, over.first + over.count) for over in block.over)
    matrix = maps.matrix(exponent.linear)
    if matrix is not None:
        units = torch.einsum("...ij,...jrx->...irx", matrix[within], units)
    factors = maps.factors(exponent)
    if factors is not None:
        some = slice(block.first, block.first + block.count)
        units = units * factors[within][..., some][..., None, None]
    return units


def still_maps(group: Group, level: Level, scales: int, signs: int) -> UnitMaps:
    """Maps of a class that change nothing."""
    shape = (*group.contexts, group.size)
    one = torch.ones((), dtype=torch.float64)
    linear = None
    if level > Level.MONOMIAL:
        linear = torch.eye(group.size, dtype=torch.float64).expand(*shape, group.size).clone()
    return UnitMaps(linear, one.expand(scales, *shape), one.expand(signs, *shape))


def random_maps(
    group: Group, level: Level, scales: int, signs: int, generator: torch.Generator
) -> UnitMaps:
    """Random maps of a class: a linear one where the level has any, log-uniform scales, signs."""

    def uniform(*shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        return ((drawn - 0.5) * log(_CONDITION)).exp()

    shape = (*group.contexts, group.size)
    linear = None
    if level > Level.MONOMIAL:
        rotations = [_rotation(shape, generator) for _ in range(2)]
        linear = rotations[0]
        if level == Level.INVERTIBLE:
            linear = linear * uniform(*shape)[..., None, :] @ rotations[1]
        elif level == Level.FIXING_ONES:
            linear = _fixing_ones(shape, generator)
    drawn = torch.randint(0, 2, (signs, *shape), generator=generator)
    return UnitMaps(linear, uniform(scales, *shape), (drawn * 2 - 1).double())


def _rotation(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    normal = torch.randn((*shape, shape[-1]), generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(normal).Q
    return rotation


def _fixing_ones(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """A rotation of what is orthogonal to the vector of ones."""
    size = shape[-1]
    ones = torch.full((size, 1), size**-0.5, dtype=torch.float64)
    normal = torch.randn((size, size - 1), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, normal], 1)).Q[:, 1:]
    inner = _rotation((*shape[:-1], size - 1), generator)
    fixing: Tensor = ones @ ones.T + basis @ inner @ basis.T
    return fixing
