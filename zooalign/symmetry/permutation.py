"""A permutation: for each group and context of a spec, which unit comes where."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

__all__ = ["Permutation"]


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

    def __repr__(self) -> str:
        return (
            f"<Permutation of {len(self.indices)} groups, {self.moved_fraction:.1%} of units move, "
            f"spec {self.spec_hash[:12]}>"
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Permutation)
            and self.spec_hash == other.spec_hash
            and self.indices.keys() == other.indices.keys()
            and all(np.array_equal(self.indices[k], other.indices[k]) for k in self.indices)
        )

    def __hash__(self) -> int:
        return hash((self.spec_hash, *(self.indices[k].tobytes() for k in sorted(self.indices))))

    @property
    def moved_fraction(self) -> float:
        """Share of units, over all groups and contexts, that change place."""
        total = sum(index.size for index in self.indices.values())
        moved = sum(
            int((index != np.arange(index.shape[-1])).sum()) for index in self.indices.values()
        )
        return moved / total if total else 0.0

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.moved_fraction == 0
