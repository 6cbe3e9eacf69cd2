"""Elements beyond permutations: a permutation of the units, then maps of them, as a frozen value.

``SpecClasses(spec, classes)`` is to its :class:`Element` what a permutation spec is to a
permutation. All is computed in float64 and rounded once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log10, prod
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.graph.lazy_state import StateView
from zooalign.kinds import SYMMETRIES, Symmetries
from zooalign.symmetry.classes.group_class import Absorbed, GroupClass
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.classes.maps import (
    BlockExponents,
    UnitMaps,
    mapped,
    random_maps,
    still_maps,
)
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Element", "Mapped", "SpecClasses", "block_exponents"]

# A linear map that is worse conditioned loses more digits in float32 than are left.
WORST_CONDITION = 1e5


@dataclass(frozen=True, eq=False)
class Element:
    """A permutation of the units of a spec, and maps of the units of each group after it.

    Attributes
    ----------
    permutation:
        What is applied first.
    maps:
        Per group id, in the order of units and contexts after the permutation.
    before, after:
        Of state dicts that it is applied to, and of what comes out: the values of the weights that
        have to be one for linear maps, by their first name, in float64. One that is not named is
        one everywhere.
    symmetries:
        How far the classes go that it is of.
    """

    permutation: Permutation
    maps: Mapping[str, UnitMaps]
    before: Mapping[str, Tensor] = field(default_factory=dict)
    after: Mapping[str, Tensor] = field(default_factory=dict)
    symmetries: Symmetries = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", MappingProxyType(dict(self.maps)))
        for name in ("before", "after"):
            weights = {n: t.detach().double().clone() for n, t in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(weights))

    def __repr__(self) -> str:
        linear = sum(maps.linear is not None for maps in self.maps.values())
        return (
            f"<Element of {len(self.maps)} groups, {linear} with linear maps, "
            f"spec {self.spec_hash[:12]}>"
        )

    @property
    def spec_hash(self) -> str:
        """Hash of the spec it belongs to."""
        return self.permutation.spec_hash

    @property
    def touched(self) -> Permutation:
        """A permutation that moves the units of every group that the element changes.

        What would be wrong beside units that moved is wrong beside units that were mapped.
        """
        indices = {
            group: index if self.maps[group].still else np.roll(index, 1, axis=-1)
            for group, index in self.permutation.indices.items()
        }
        return Permutation(self.spec_hash, indices)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        names = self.before.keys() | self.after.keys()
        same = all(_same(self.before.get(n), self.after.get(n)) for n in names)
        still = self.permutation.is_identity and all(maps.still for maps in self.maps.values())
        return same and still


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    a, b = (torch.ones((), dtype=torch.float64) if x is None else x for x in (one, other))
    return bool((a == b).all())


@dataclass(frozen=True)
class SpecClasses:
    """A permutation spec with the class of each group, as far as ``symmetries`` go."""

    spec: PermutationSpec
    classes: Mapping[str, GroupClass]
    symmetries: Symmetries = "linear"

    @classmethod
    def of(cls, spec: PermutationSpec, symmetries: Symmetries | None = None) -> "SpecClasses":
        """Those that a spec says, as far as ``symmetries`` go; all of them if that is None.

        Raises
        ------
        SpecError
            If the spec says none, or not so far.
        """
        wanted = symmetries or SYMMETRIES[1]
        known = "permutations" if spec.classes is None else spec.classes.symmetries
        if spec.classes is None or SYMMETRIES.index(known) < SYMMETRIES.index(wanted):
            raise SpecError(
                f"the spec says what is known of {known} only, not of {wanted}: derive it with "
                f"symmetries='{wanted}' (--symmetries {wanted})"
            )
        within = symmetries or known
        return cls(spec, {of.group: of.within(within) for of in spec.classes.groups}, within)

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

    # ------------------------------------------------------------------ elements

    def identity(self) -> Element:
        """The element that changes nothing."""
        maps = {group.id: self._still(group) for group in self.spec.groups}
        return self.element(self.spec.identity(), maps)

    def element(
        self,
        permutation: Permutation,
        maps: Mapping[str, UnitMaps],
        before: Mapping[str, Tensor] = MappingProxyType({}),
        after: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Element:
        """One of these classes; see :class:`Element`. It is checked when it is applied."""
        return Element(permutation, maps, before, after, self.symmetries)

    def permuting(self, permutation: Permutation) -> Element:
        """The element that does nothing but permute."""
        self.spec.check(permutation)
        return replace(self.identity(), permutation=permutation)

    def random(self, seed: int = 0) -> Element:
        """A random element: rotations, maps of condition 4 at most, log-uniform scales, signs.

        Permutations are elements of the spec; they are not drawn here.
        """
        generator = torch.Generator().manual_seed(seed)
        maps = {}
        for group in self.spec.groups:
            of = self.classes[group.id]
            maps[group.id] = random_maps(group, _level(of), *counts(of), generator)
        return self.element(self.spec.identity(), maps)

    def between(
        self, element: Element, source: Mapping[str, Tensor], target: Mapping[str, Tensor]
    ) -> Element:
        """The element for a source's weights that have to be one, and to a target's.

        Raises
        ------
        SpecError
            If such a weight of the target is zero for some unit, or one of the source beside a
            bias.
        """
        before, after = self.weights(source), self.weights(target)
        for name, values in after.items():
            if bool((values == 0).any()):
                raise SpecError(
                    f"'{name}' of the target is zero for some units, so the source cannot be "
                    "brought to its weights. Use a smaller class: symmetries='monomial' "
                    "(--symmetries monomial)"
                )
        moved = replace(element, before=before, after=after)
        self.check(moved)
        return moved

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a state dict that have to be one for linear maps, by their first name."""
        found = {}
        for name in self._absorbed:
            stored = next((n for n in self._names(name) if n in state), None)
            if stored is None:
                raise SpecError(f"the state dict has no '{name}', which linear maps have to know")
            found[name] = state[stored].detach().cpu().double()
        return found

    def check(self, element: Element) -> None:
        """Raise SpecError unless the element is one of these classes, and can be computed with."""
        self.spec.check(element.permutation)
        if element.symmetries != self.symmetries:
            raise SpecError(
                f"the element is of symmetries '{element.symmetries}', the classes are of "
                f"'{self.symmetries}'"
            )
        if element.maps.keys() != self.spec.by_id.keys():
            differing = sorted(element.maps.keys() ^ self.spec.by_id.keys())
            raise SpecError(f"the element and the spec differ in groups: {differing[:5]}")
        for group in self.spec.groups:
            _check_maps(group, self.classes[group.id], element.maps[group.id])
        for where, weights in (("before", element.before), ("after", element.after)):
            for name, values in weights.items():
                if name not in self._absorbed:
                    raise SpecError(f"the element has a weight '{name}' {where} it, which no class")
                if tuple(values.shape) != self.spec.shapes[name]:
                    raise SpecError(f"the element's '{name}' {where} it has another shape")
                if not bool(values.isfinite().all()):
                    raise SpecError(f"the element's '{name}' {where} it is not finite")
                if where == "after" and bool((values == 0).any()):
                    raise SpecError(f"the element makes '{name}' zero for some units")
                if bool((values == 0).any()) and self._beside(name):
                    raise SpecError(
                        f"'{name}' is zero for some units, so its bias cannot be moved into what "
                        "reads both. Use a smaller class: symmetries='monomial' "
                        "(--symmetries monomial)"
                    )

    def invert(self, element: Element) -> Element:
        """The element that undoes the given one.

        Raises
        ------
        SpecError
            If a weight before it is zero somewhere: the element loses what reads it.
        """
        self.check(element)
        back = self.spec.invert(element.permutation)
        maps = {
            group.id: self._moved(group, back, element.maps[group.id].inverse())
            for group in self.spec.groups
        }
        inverse = self.element(back, maps, element.after, element.before)
        self.check(inverse)
        return inverse

    def compose(self, after: Element, before: Element) -> Element:
        """The element that applies ``before`` first, then ``after``.

        Raises
        ------
        SpecError
            If ``after`` is for other weights than ``before`` leaves.
        """
        self.check(after)
        self.check(before)
        for name in after.before.keys() | before.after.keys():
            if not _same(after.before.get(name), before.after.get(name)):
                raise SpecError(f"the second element is for another '{name}' than the first leaves")
        permutation = self.spec.compose(after.permutation, before.permutation)
        maps = {
            group.id: after.maps[group.id].times(
                self._moved(group, after.permutation, before.maps[group.id])
            )
            for group in self.spec.groups
        }
        return self.element(permutation, maps, before.before, after.after)

    def _still(self, group: Group) -> UnitMaps:
        of = self.classes[group.id]
        return still_maps(group, _level(of), *counts(of))

    def _moved(self, group: Group, permutation: Permutation, maps: UnitMaps) -> UnitMaps:
        """Maps of units as they stand before a permutation, for the units as they stand after."""
        contexts = self.spec.old_contexts(group, permutation)
        at = tuple(torch.from_numpy(index) for index in contexts)
        order = torch.from_numpy(permutation.indices[group.id].copy())
        return maps.reordered(at, order)

    # ------------------------------------------------------------------ state dicts

    def absorbed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict that computes the same, in which all weights are one that have to be.

        Raises
        ------
        SpecError
            If such a weight is zero somewhere and a bias beside it is not, so that nothing that
            reads both computes the same.
        """
        here = dict(self._weights_of(state))
        return self.apply(replace(self.identity(), before=here), state)

    def _weights_of(self, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name in self._absorbed:
            stored = next((n for n in self._names(name) if n in state), None)
            if stored is not None:
                yield name, state[stored].detach().cpu().double()

    def apply(self, element: Element, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict that computes the same, mapped by an element. Pure: nothing is changed.

        Parameters
        ----------
        element:
            It must belong to these classes, and be for the state dict's weights that have to be
            one (``before``).
        state:
            Tensors by name, of any floating dtype; each is rounded to it once.

        Returns
        -------
        A dict with the same keys. Tensors that nothing changes are the given ones, not copies.

        Raises
        ------
        SpecError
            If element, spec and state dict do not belong together.
        """
        return dict(Mapped(self, element, state))

    def apply_to_tensor(self, element: Element, name: str, tensor: Tensor) -> Tensor:
        """One tensor of a state dict, mapped; the tensor itself where nothing changes it.

        The element is not checked here: see :meth:`check`.

        Raises
        ------
        SpecError
            If the tensor has another shape than the spec says or no floating dtype, or is a weight
            that the element is not for.
        """
        first = self.spec.tied.get(name, name)
        if first in self._absorbed:
            return self._weight(element, first, tensor)
        is_mapped = self._is_mapped(element, name)
        if is_mapped and not tensor.is_floating_point():
            raise SpecError(
                f"'{name}' has the dtype {tensor.dtype}, in which only permutations are exact: "
                "use symmetries='permutations', or the weights before they were quantised"
            )
        moved = self._scaled(name, tensor.double() if is_mapped else tensor, element.before, -1)
        moved = self.spec.apply_to_tensor(element.permutation, name, moved)
        for group, number, member in self._members.get(name, ()):
            exponents = block_exponents(self.classes[group.id], number)
            if not element.maps[group.id].still:
                moved = mapped(moved, group, member, exponents, element.maps[group.id])
        moved = self._scaled(name, moved, element.after, 1)
        return moved.to(tensor.dtype)

    def _weight(self, element: Element, name: str, tensor: Tensor) -> Tensor:
        """A weight that has to be one: what it is before, and what it becomes."""
        one = tensor.new_ones(tensor.shape, dtype=torch.float64)
        before = element.before.get(name, one).to(tensor.device)
        if before.shape != tensor.shape or not torch.equal(tensor.double(), before):
            raise SpecError(
                f"'{name}' of the state dict is not the one that the element is for: it belongs "
                "to another model, or the weights were changed since"
            )
        after = element.after.get(name, one).to(tensor.device)
        return tensor if torch.equal(before, after) else after.to(tensor.dtype)

    def _is_mapped(self, element: Element, name: str) -> bool:
        """Whether numbers of a tensor change, beside their places."""
        groups = [g.id for g, _, _ in self._members.get(name, ())]
        weights = [w for w, *_ in self._readers.get(name, ())]
        given = [w for w in weights if w in element.before or w in element.after]
        return bool(given) or any(not element.maps[group].still for group in groups)

    def _scaled(
        self, name: str, tensor: Tensor, weights: Mapping[str, Tensor], power: int
    ) -> Tensor:
        """A tensor as it is once weights that are one become these, or (-1) the reverse."""
        for weight, group, member, row in self._readers.get(name, ()):
            if weight not in weights:
                continue
            units = self._units(weight, weights[weight])
            maps = UnitMaps(None, units[None], units.new_ones((0, *units.shape)))
            exponents = [BlockExponents(0, (float(power * e),), ()) for e in row]
            tensor = mapped(tensor, group, member, exponents, maps)
        return tensor

    def _units(self, weight: str, values: Tensor) -> Tensor:
        """A weight that has to be one, by contexts and units."""
        group, member = self._absorbed[weight]
        at = torch.from_numpy(member.positions(group))[..., 0]  # (*contexts, units)
        return values.double().reshape(-1)[at]

    def _beside(self, weight: str) -> bool:
        """Whether something is divided by a weight as it becomes one."""
        readers = [r for rows in self._readers.values() for r in rows if r[0] == weight]
        return any(e > 0 for *_, row in readers for e in row)

    # ------------------------------------------------------------------ tables

    @cached_property
    def _members(self) -> Mapping[str, Sequence[tuple[Group, int, Member]]]:
        """In each tensor the groups with the number and place of their member, outer first."""
        table: dict[str, list[tuple[Group, int, Member]]] = {}
        for group in self.spec.groups:
            for number, member in enumerate(group.members):
                table.setdefault(member.parameter, []).append((group, number, member))
        return table

    @cached_property
    def _absorbed(self) -> Mapping[str, tuple[Group, Member]]:
        """The weights that have to be one, by their first name, with their place."""
        table = {}
        for group in self.spec.groups:
            for weight in _absorbed(self.classes[group.id]):
                first = self.spec.tied.get(weight.parameter, weight.parameter)
                member = next(m for m in group.members if self._is(m.parameter, first))
                table[first] = group, member
        return table

    @cached_property
    def _readers(self) -> Mapping[str, Sequence[tuple[str, Group, Member, tuple[int, ...]]]]:
        """What a weight's scale changes in other tensors: weight, group, member, exponents."""
        table: dict[str, list[tuple[str, Group, Member, tuple[int, ...]]]] = {}
        for group in self.spec.groups:
            for weight in _absorbed(self.classes[group.id]):
                first = self.spec.tied.get(weight.parameter, weight.parameter)
                for member, row in zip(group.members, weight.scale, strict=True):
                    if any(row) and not self._is(member.parameter, first):
                        table.setdefault(member.parameter, []).append((first, group, member, row))
        return table

    def _is(self, name: str, first: str) -> bool:
        return self.spec.tied.get(name, name) == first

    def _names(self, first: str) -> Iterator[str]:
        """The names of one tensor."""
        yield first
        yield from (name for name, other in self.spec.tied.items() if other == first)


class Mapped(StateView):
    """A state dict seen through an element: each tensor is read and mapped when asked for."""

    def __init__(self, classes: SpecClasses, element: Element, state: Mapping[str, Tensor]) -> None:
        super().__init__(state)
        classes.check(element)
        self._classes, self._element = classes, element

    def __getitem__(self, name: str) -> Tensor:
        return self._classes.apply_to_tensor(self._element, name, self._state[name])


def counts(of: GroupClass) -> tuple[int, int]:
    """How many scales and signs a unit has; beside linear maps none, which can do them too."""
    return (len(of.scales), len(of.signs)) if of.linear is None else (0, 0)


def _absorbed(of: GroupClass) -> tuple[Absorbed, ...]:
    return of.absorbed if of.linear is not None else ()


def _level(of: GroupClass) -> Level:
    return Level.MONOMIAL if of.linear is None else of.level


def block_exponents(of: GroupClass, member: int) -> list[BlockExponents]:
    """Those of the blocks of one member of a group, by its number."""
    if of.linear is not None:
        return [BlockExponents(e, (), ()) for e in of.linear[member]]
    rows = zip(*(table[member] for table in (*of.scales, *of.signs)), strict=True)
    count = len(of.scales)
    return [BlockExponents(0, tuple(map(float, r[:count])), r[count:]) for r in rows]


def _check_maps(group: Group, of: GroupClass, maps: UnitMaps) -> None:
    """Raise SpecError unless maps are of a class: of its shapes, finite, and of its level."""
    at = f"group '{group.id}' ({of.name})"
    shape = (*group.contexts, group.size)
    scales, signs = counts(of)
    square = (*shape, group.size) if of.linear is not None else None
    given = None if maps.linear is None else tuple(maps.linear.shape)
    forms = (given, tuple(maps.scales.shape), tuple(maps.signs.shape))
    if forms != (square, (scales, *shape), (signs, *shape)):
        raise SpecError(f"{at}: the element's maps are of other shapes, {forms}")
    if not bool((maps.scales > 0).all() and maps.scales.isfinite().all()):
        raise SpecError(f"{at}: a scale is not a positive finite number")
    if not bool((maps.signs.abs() == 1).all()):
        raise SpecError(f"{at}: a sign is neither 1 nor -1")
    if maps.linear is not None:
        _check_linear(at, of.level, maps.linear)


def _check_linear(at: str, level: Level, linear: Tensor) -> None:
    if not bool(linear.isfinite().all()):
        raise SpecError(f"{at}: a linear map is not finite")
    n = linear.shape[-1]
    if level < Level.INVERTIBLE:
        apart = linear.mT @ linear - torch.eye(n, dtype=linear.dtype)
        if float(apart.abs().max()) > 1e-8:
            raise SpecError(f"{at}: a linear map is no rotation or reflection")
    elif prod(linear.shape) and float(torch.linalg.cond(linear).max()) > WORST_CONDITION:
        raise SpecError(f"{at}: a linear map has a condition above {WORST_CONDITION:.0e}")
    if level == Level.FIXING_ONES and float((linear.sum(-1) - 1).abs().max()) > 1e-7:
        raise SpecError(f"{at}: a linear map does not keep the vector of ones")
