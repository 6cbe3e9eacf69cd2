"""Members of the group: values that say, per group and context, which unit comes where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from zooalign.errors import SpecError
from zooalign.symmetry.spec import Group, PermutationSpec

__all__ = [
    "Permutation",
    "compose",
    "identity",
    "invert",
    "is_identity",
    "moved_fraction",
    "old_contexts",
    "random",
]


@dataclass(frozen=True, eq=False)
class Permutation:
    """A member of the group of a spec.

    Attributes
    ----------
    spec_hash:
        Hash of the spec it belongs to.
    indices:
        Per group id an int64 array of shape (*contexts, size), read-only. Applying it puts old
        unit ``indices[context][i]`` in place ``i``; contexts count outer units *after* the outer
        groups were applied.
    """

    spec_hash: str
    indices: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        frozen = {}
        for name, index in self.indices.items():
            index = np.ascontiguousarray(index, dtype=np.int64).copy()
            index.setflags(write=False)
            frozen[name] = index
        object.__setattr__(self, "indices", MappingProxyType(frozen))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Permutation)
            and self.spec_hash == other.spec_hash
            and self.indices.keys() == other.indices.keys()
            and all(np.array_equal(self.indices[k], other.indices[k]) for k in self.indices)
        )

    def __hash__(self) -> int:
        return hash((self.spec_hash, *(self.indices[k].tobytes() for k in sorted(self.indices))))


def check(spec: PermutationSpec, permutation: Permutation) -> None:
    """Raise SpecError unless the permutation belongs to the spec and is a bijection per context."""
    if permutation.spec_hash != spec.hash:
        raise SpecError(
            f"the permutation belongs to the spec {permutation.spec_hash[:12]}, not to "
            f"{spec.hash[:12]}: use the spec it was made with"
        )
    if permutation.indices.keys() != spec.by_id.keys():
        odd = sorted(permutation.indices.keys() ^ spec.by_id.keys())
        raise SpecError(f"the permutation and the spec differ in groups: {odd[:5]}")
    for group in spec.groups:
        index = permutation.indices[group.id]
        if index.shape != (*group.contexts, group.size):
            raise SpecError(
                f"group '{group.id}': indices of shape {index.shape}, "
                f"{(*group.contexts, group.size)} needed"
            )
        if not np.array_equal(
            np.sort(index, axis=-1), np.broadcast_to(_arange(group), index.shape)
        ):
            raise SpecError(f"group '{group.id}': indices are not a permutation of {group.size}")


def _arange(group: Group) -> np.ndarray:
    return np.arange(group.size, dtype=np.int64)


def _make(spec: PermutationSpec, make: Callable[[Group], np.ndarray]) -> Permutation:
    return Permutation(spec.hash, {group.id: make(group) for group in spec.groups})


def identity(spec: PermutationSpec) -> Permutation:
    """The permutation that moves nothing."""
    return _make(spec, lambda g: np.broadcast_to(_arange(g), (*g.contexts, g.size)))


def random(spec: PermutationSpec, seed: int = 0) -> Permutation:
    """A uniformly random member of the group, the same for the same seed and spec."""
    generator = np.random.default_rng(seed)
    return _make(
        spec,
        lambda g: generator.permuted(np.broadcast_to(_arange(g), (*g.contexts, g.size)), axis=-1),
    )


def old_contexts(
    spec: PermutationSpec, group: Group, permutation: Permutation
) -> tuple[np.ndarray, ...]:
    """For each new context of a group, the old context its units come from.

    Arrays of shape ``group.contexts``, one per outer group.
    """
    if not group.over:
        return ()
    new = dict(zip(group.over, np.indices(group.contexts), strict=True))
    old = []
    for outer in group.over:
        if outer in spec.fixed_sets:
            old.append(new[outer])
            continue
        index = permutation.indices[outer]
        within = tuple(new[name] for name in spec.by_id[outer].over)
        old.append(index[(*within, new[outer])])
    return tuple(old)


def compose(spec: PermutationSpec, after: Permutation, before: Permutation) -> Permutation:
    """The permutation that applies ``before`` first, then ``after``."""
    check(spec, after)
    check(spec, before)

    def make(group: Group) -> np.ndarray:
        source = old_contexts(spec, group, after)
        return np.take_along_axis(before.indices[group.id][source], after.indices[group.id], -1)

    return _make(spec, make)


def invert(spec: PermutationSpec, permutation: Permutation) -> Permutation:
    """The permutation that undoes the given one."""
    check(spec, permutation)

    def make(group: Group) -> np.ndarray:
        inverse = np.argsort(permutation.indices[group.id], axis=-1)
        source = old_contexts(spec, group, permutation)
        if not source:
            return inverse
        result = np.empty_like(inverse)
        result[source] = inverse
        return result

    return _make(spec, make)


def is_identity(permutation: Permutation) -> bool:
    """Whether nothing moves."""
    return moved_fraction(permutation) == 0


def moved_fraction(permutation: Permutation) -> float:
    """Share of units, over all groups and contexts, that change place."""
    total = sum(index.size for index in permutation.indices.values())
    moved = sum(
        int((index != np.arange(index.shape[-1])).sum()) for index in permutation.indices.values()
    )
    return moved / total if total else 0.0
