"""Elements beyond permutations: maps of the units of all groups, drawn and applied to a state dict.

``SpecClasses(spec, classes)`` is to its :class:`Element` what a permutation spec is to a
permutation. All is computed in float64 and rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

import torch
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.symmetry.classes.group_class import Exponents, GroupClass
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.classes.maps import BlockExponents, UnitMaps, mapped, random_maps
from zooalign.symmetry.groups import Group
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Element", "SpecClasses"]


@dataclass(frozen=True, eq=False)
class Element:
    """Maps of the units of each group of a spec, by its id."""

    spec_hash: str
    maps: Mapping[str, UnitMaps]


@dataclass(frozen=True)
class SpecClasses:
    """A permutation spec with the class of each group."""

    spec: PermutationSpec
    classes: Mapping[str, GroupClass]

    def dimension(self, name: str) -> int:
        """How many real numbers a map of one group has, in all of its contexts.

        Scales of a group that maps of the groups nested in it can do as well count for both.
        """
        group, of = self.spec.by_id[name], self.classes[name]
        n = group.size
        each = {
            Level.MONOMIAL: n * len(of.scales),
            Level.FIXING_ONES: (n - 1) * (n - 2) // 2,
            Level.ORTHOGONAL: n * (n - 1) // 2,
            Level.INVERTIBLE: n * n,
        }
        return group.copies * each[of.level]

    def log10_order(self, name: str) -> float:
        """Base-10 logarithm of the number of parts that do not hang together, of one group.

        Unit by unit these are permutations and signs; linear maps have a determinant above or below
        zero in each context.
        """
        group, of = self.spec.by_id[name], self.classes[name]
        if of.level > Level.MONOMIAL:
            return group.copies * log10(2)
        return group.log10_order + group.copies * group.size * len(of.signs) * log10(2)

    def random(self, seed: int = 0) -> Element:
        """A random element: rotations, maps of condition 4 at most, log-uniform scales, signs.

        Permutations are elements of the spec; they are not drawn here.
        """
        generator = torch.Generator().manual_seed(seed)
        maps = {}
        for group in self.spec.groups:
            of = self.classes[group.id]
            beside = of.linear is None  # else scales and signs are among the linear maps
            counts = (len(of.scales), len(of.signs)) if beside else (0, 0)
            maps[group.id] = random_maps(group, of.level, *counts, generator)
        return Element(self.spec.hash, maps)

    def absorbed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict that computes the same, in which all weights are one that have to be.

        Raises
        ------
        SpecError
            If such a weight is zero somewhere and a bias beside it is not, so that nothing that
            reads both computes the same.
        """
        result = dict(state)
        for group in self.spec.groups:
            for weight in self.classes[group.id].absorbed:
                self._absorb(result, group, weight.parameter, weight.scale)
        return result

    def _absorb(
        self, state: dict[str, Tensor], group: Group, parameter: str, scale: Exponents
    ) -> None:
        tied = self.spec.tied
        first = tied.get(parameter, parameter)
        same = [tied.get(m.parameter, m.parameter) == first for m in group.members]
        member = group.members[same.index(True)]
        at = torch.from_numpy(member.positions(group))[..., 0]  # (*contexts, units)
        units = state[parameter].double().reshape(-1)[at]
        rows = list(zip(group.members, scale, same, strict=True))
        added = any(e > 0 for _, row, weight in rows if not weight for e in row)
        if added and bool((units == 0).any()):
            raise SpecError(
                f"'{parameter}' is zero for some units, so its bias cannot be moved into what "
                "reads both. Use a smaller class: symmetries='monomial'"
            )
        maps = UnitMaps(None, units[None], units.new_ones((0, *units.shape)))
        for other, row, weight in rows:
            name = other.parameter
            if name not in state:
                continue
            if weight:
                state[name] = torch.ones_like(state[name])
            elif any(row):
                exponents = [BlockExponents(0, (float(-e),), ()) for e in row]
                value = mapped(state[name], group, other, exponents, maps)
                state[name] = value.to(state[name].dtype)

    def apply(self, element: Element, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict that computes the same, mapped by an element.

        Weights that have to be one for it must be: see :meth:`absorbed`.

        Raises
        ------
        SpecError
            If the element belongs to another spec.
        """
        self.spec.check_hash(element.spec_hash)
        result = dict(state)
        for group in self.spec.groups:
            of, maps = self.classes[group.id], element.maps[group.id]
            for number, member in enumerate(group.members):
                if member.parameter in state:
                    value = result[member.parameter]
                    exponents = block_exponents(of, number)
                    result[member.parameter] = mapped(value, group, member, exponents, maps)
        return {n: t if t is state[n] else t.to(state[n].dtype) for n, t in result.items()}


def block_exponents(of: GroupClass, member: int) -> list[BlockExponents]:
    """Those of the blocks of one member of a group, by its number."""
    if of.linear is not None:
        return [BlockExponents(e, (), ()) for e in of.linear[member]]
    rows = zip(*(table[member] for table in (*of.scales, *of.signs)), strict=True)
    count = len(of.scales)
    return [BlockExponents(0, tuple(map(float, r[:count])), r[count:]) for r in rows]
