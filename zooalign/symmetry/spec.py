"""The permutation spec: which positions of which tensors move together. A frozen value.

A spec is a list of **groups**. A group is a symmetric group on ``size`` units; where it is nested
``over`` other groups it has a permutation of its own for each tuple of their units (head dims: one
for each head). Its **members** say where the units stand: for a block of a member, the element of
unit ``first + i`` in context ``(c1, c2, ...)`` stands at

    offset + stride * i + sum_k over[k].stride * (c_k - over[k].first) + repeat offsets

in the row-major flattening of the member's ``axes`` (almost always one axis). Applying groups in
the order they are listed, outer before inner, each by
``new[position of unit i] = old[position of unit p[i]]``, applies a permutation. ``docs/spec.md``
describes the file format.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from zooalign.errors import SpecError
from zooalign.graph.lazy_state import StateView
from zooalign.graph.module_tensors import EXTRA_STATE
from zooalign.symmetry.apply import is_still, rearranged, sources
from zooalign.symmetry.classes.group_class import ClassesRecord
from zooalign.symmetry.contract import Contract, ProofRecord
from zooalign.symmetry.groups import Frozen, Group, Member, Size
from zooalign.symmetry.permutation import Permutation
from zooalign.text import html_table

__all__ = ["PermutationSpec", "Permuted"]

FORMAT = "zooalign.permutation-spec"
VERSION = 1
VERSION_WITH_CLASSES = 2


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
        Tensors of the state dict that are not parameters (running statistics, counters).
    tied:
        Names of the state dict that share a tensor, with the first name of that tensor.
    architecture:
        A name for people; not part of the hash.
    proof:
        How far it was proved; not part of the hash. None where that was not tried.
    contract:
        The computation that the spec holds for; not part of the hash. None where a file of an
        earlier version does not say it.
    classes:
        What more than permutations is known, group by group; not part of the hash. None where
        only permutations were asked for.
    """

    shapes: Mapping[str, tuple[Size, ...]]
    groups: tuple[Group, ...]
    fixed_sets: Mapping[str, Size] = field(default_factory=dict)
    frozen: tuple[Frozen, ...] = ()
    unused: tuple[str, ...] = ()
    unknown_operators: Mapping[str, Size] = field(default_factory=dict)
    buffers: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""
    contract: Contract | None = None
    classes: ClassesRecord | None = None
    proof: ProofRecord | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<PermutationSpec {self._title}, hash {self.hash[:12]}>"

    def _repr_html_(self) -> str:
        """For notebooks: the groups, summed up by structure."""
        header = ("structure", "groups", "places")
        return html_table(f"PermutationSpec {self._title}", header, self.summary())

    @property
    def _title(self) -> str:
        name = f"of {self.architecture}: " if self.architecture else ""
        return f"{name}{len(self.groups)} groups, 10^{self.log10_order:.2f} permutations"

    @property
    def value_dependent(self) -> bool:
        """Whether values of inputs decided in the computation that the spec was derived from."""
        return self.contract is not None and bool(self.contract.value_dependent)

    def checked(self, batches: Iterable[Any] | None) -> Iterable[Any] | None:
        """The batches, where a size for which the spec does not hold is a DataError when read."""
        if batches is None or self.contract is None:
            return batches
        return self.contract.checked(batches)

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
        """The members in each tensor, in order of application."""
        table: dict[str, list[tuple[Group, Member]]] = {}
        for group in self.groups:
            for member in group.members:
                table.setdefault(member.parameter, []).append((group, member))
        return {name: tuple(pairs) for name, pairs in table.items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over names, shapes and groups: equal for equal symmetry, whatever the name."""
        text = json.dumps(
            {
                "version": VERSION,
                "shapes": {name: list(shape) for name, shape in self.shapes.items()},
                "groups": [group.to_dict() for group in self.groups],
                "fixed_sets": dict(self.fixed_sets),
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self) -> Permutation:
        """The permutation that moves nothing."""
        return self._permutation(_still_units)

    def random(self, seed: int = 0) -> Permutation:
        """A uniformly random member of the group, the same for the same seed and spec."""
        generator = np.random.default_rng(seed)
        return self._permutation(lambda g: generator.permuted(_still_units(g), axis=-1))

    def _permutation(self, indices: Callable[[Group], np.ndarray]) -> Permutation:
        return Permutation(self.hash, {group.id: indices(group) for group in self.groups})

    def check_hash(self, spec_hash: str) -> None:
        """Raise SpecError unless what has this ``spec_hash`` belongs to this spec."""
        if spec_hash != self.hash:
            raise SpecError(
                f"the permutation belongs to the spec {spec_hash[:12]}, not to {self.hash[:12]}: "
                "use the spec it was made with"
            )

    def check(self, permutation: Permutation) -> None:
        """Raise SpecError unless the permutation is a member of the group of this spec."""
        self.check_hash(permutation.spec_hash)
        if permutation.indices.keys() != self.by_id.keys():
            differing = sorted(permutation.indices.keys() ^ self.by_id.keys())
            raise SpecError(f"the permutation and the spec differ in groups: {differing[:5]}")
        for group in self.groups:
            index = permutation.indices[group.id]
            if index.shape != (*group.contexts, group.size):
                raise SpecError(
                    f"group '{group.id}': indices of shape {index.shape}, "
                    f"{(*group.contexts, group.size)} needed"
                )
            if not np.array_equal(np.sort(index, axis=-1), _still_units(group)):
                raise SpecError(
                    f"group '{group.id}': indices are not a permutation of {group.size}"
                )

    def old_contexts(self, group: Group, permutation: Permutation) -> tuple[np.ndarray, ...]:
        """For each new context of a group, the old context its units come from.

        Arrays of shape ``group.contexts``, one per outer group.
        """
        if not group.over:
            return ()
        new = dict(zip(group.over, np.indices(group.contexts), strict=True))
        old = []
        for outer in group.over:
            if outer in self.fixed_sets:
                old.append(new[outer])
                continue
            within = tuple(new[name] for name in self.by_id[outer].over)
            old.append(permutation.indices[outer][(*within, new[outer])])
        return tuple(old)

    def compose(self, after: Permutation, before: Permutation) -> Permutation:
        """The permutation that applies ``before`` first, then ``after``."""
        self.check(after)
        self.check(before)

        def composed(group: Group) -> np.ndarray:
            source = self.old_contexts(group, after)
            return np.take_along_axis(before.indices[group.id][source], after.indices[group.id], -1)

        return self._permutation(composed)

    def invert(self, permutation: Permutation) -> Permutation:
        """The permutation that undoes the given one."""
        self.check(permutation)

        def inverted(group: Group) -> np.ndarray:
            inverse = np.argsort(permutation.indices[group.id], axis=-1)
            source = self.old_contexts(group, permutation)
            if not source:
                return inverse
            result = np.empty_like(inverse)
            result[source] = inverse
            return result

        return self._permutation(inverted)

    def apply(
        self, permutation: Permutation, state_dict: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """A new state dict with the units reordered.

        Parameters
        ----------
        permutation:
            It must belong to this spec.
        state_dict:
            Tensors by name, of any dtype and device. Names the spec does not know are an error;
            names the state dict lacks are not (tied names are often left out of files).

        Returns
        -------
        A dict with the same keys. Tensors that do not move are the given ones, not copies.

        Raises
        ------
        SpecError
            If permutation, spec and state dict do not belong together.
        """
        self.check(permutation)
        return {n: self.apply_to_tensor(permutation, n, t) for n, t in state_dict.items()}

    def apply_to_tensor(self, permutation: Permutation, name: str, tensor: Tensor) -> Tensor:
        """One tensor of a state dict, permuted; the tensor itself where nothing in it moves.

        What a module adds to its state dict by ``get_extra_state`` is no tensor and is left alone.
        """
        if name.rpartition(".")[2] == EXTRA_STATE:
            return tensor
        if name not in self.shapes:
            raise SpecError(f"the spec has no tensor '{name}': it is for another architecture")
        if tuple(tensor.shape) != self.shapes[name]:
            raise SpecError(
                f"'{name}' has shape {tuple(tensor.shape)}, the spec is for {self.shapes[name]}"
            )
        return rearranged(tensor, self.by_parameter.get(name, ()), permutation)

    def sources(
        self, permutation: Permutation, name: str
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Where a tensor's positions come from; see :func:`zooalign.symmetry.apply.sources`."""
        return sources(self.shapes[name], self.by_parameter.get(name, ()), permutation)

    def moves(self, permutation: Permutation, name: str) -> bool:
        """Whether anything in a tensor changes its place."""
        return any(not is_still(index) for _, index in self.sources(permutation, name))

    def summary(self) -> Iterator[tuple[str, int, int]]:
        """(structure, how many groups have it, members) for a short listing."""
        seen: dict[str, list[int]] = {}
        for group in self.groups:
            key = f"S_{group.size}" + (f" in each of {group.copies}" if group.over else "")
            seen.setdefault(key, []).append(len(group.members))
        for key, members in seen.items():
            yield key, len(members), sum(members)


def _still_units(group: Group) -> np.ndarray:
    return np.broadcast_to(np.arange(group.size, dtype=np.int64), (*group.contexts, group.size))


class Permuted(StateView):
    """A state dict seen through a permutation: each tensor is read and moved when asked for."""

    def __init__(
        self, spec: PermutationSpec, permutation: Permutation, state: Mapping[str, Tensor]
    ) -> None:
        super().__init__(state)
        spec.check(permutation)
        self._spec, self._permutation = spec, permutation

    def __getitem__(self, name: str) -> Tensor:
        return self._spec.apply_to_tensor(self._permutation, name, self._state[name])
