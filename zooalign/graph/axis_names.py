"""What the positions along a fixed axis stand for: classes by their label, rows by their token."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["AxisNames", "Kind"]

Kind = Literal["labels", "tokens"]
# A name and how many of the same stand before it; of a position without a name, the position.
_Key = tuple[str | None, int]


@dataclass(frozen=True)
class AxisNames:
    """Names of the positions along an axis, None where a position has none.

    ``labels`` are those of a classifier's outputs, ``tokens`` those of a vocabulary.
    """

    kind: Kind
    names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def known(self) -> bool:
        """Whether any position has a name."""
        return any(name is not None for name in self.names)

    def without(self, other: "AxisNames") -> tuple[str, ...]:
        """The names here that ``other`` does not have."""
        theirs = set(other._keys())
        return tuple(key[0] for key in self._keys() if key[0] is not None and key not in theirs)

    def sources(self, order: "AxisNames") -> tuple[int, ...]:
        """For each position of ``order`` the position here of the same name; -1 where none is.

        The second position of a name is that of the second, and one without a name that of the
        same place.

        Examples
        --------
        >>> here = AxisNames("labels", ("cat", "dog"))
        >>> here.sources(AxisNames("labels", ("dog", "cat", "owl")))
        (1, 0, -1)
        """
        places = {key: position for position, key in enumerate(self._keys())}
        return tuple(places.get(key, -1) for key in order._keys())

    def joined(self, others: Iterable["AxisNames"]) -> "AxisNames":
        """These names, up to the last one, and behind them those that only ``others`` have."""
        last = max((n for n, name in enumerate(self.names) if name is not None), default=-1)
        joined = AxisNames(self.kind, self.names[: last + 1])
        for other in others:
            joined = AxisNames(self.kind, (*joined.names, *other.without(joined)))
        return joined

    def shared(self, others: Sequence["AxisNames"]) -> "AxisNames":
        """The names that all have, in the order of these."""
        common = set(self._keys()).intersection(*(other._keys() for other in others))
        kept = tuple(key[0] for key in self._keys() if key[0] is not None and key in common)
        return AxisNames(self.kind, kept)

    def _keys(self) -> Iterator[_Key]:
        seen: dict[str, int] = {}
        for position, name in enumerate(self.names):
            if name is None:
                yield None, position
                continue
            yield name, seen.get(name, 0)
            seen[name] = seen.get(name, 0) + 1
