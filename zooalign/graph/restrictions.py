"""Restrictions: what a set is where another set takes only some of its values.

The units of one set may have an order of their own at each value of another. Where that other set
is a sum, and its parts travel different ways, the set is a different one in each part: the head
dims at the query part of a fused projection need not move as those at the value part do.

A part is named by its positions in the sum, not by the set that stands there: the same set may
stand in a sum twice, and what goes with one copy need not be what goes with the other.
"""

from zooalign.graph.atoms import Atoms, Axis

__all__ = ["Restrictions"]


class Restrictions(Atoms):
    """Index sets with own sets in parts of other sets."""

    def restrict(self, axis: Axis, on: int, low: int, high: int) -> Axis:
        """The axis as it stands where ``on`` takes values ``low`` to ``high`` only."""
        if (low, high) == (0, self.sizes[on]):
            return axis
        return tuple(
            self.own(atom, on, low, high) if self.may_depend(atom, on) else atom
            for atom in self.digits(axis)
        )

    def own(self, atom: int, on: int, low: int, high: int) -> int:
        """The atom that ``atom`` is where ``on`` takes values ``low`` to ``high``."""
        key = (self.find(atom), self.find(on), low, high)
        if key not in self.restrictions:
            restricted = self.new(self.sizes[atom])
            self.version += 1
            self.restrictions[key] = restricted
            self._relate("restriction", restricted, atom)
        return self.restrictions[key]

    def state_restriction(self, atom: int, on: int, low: int, high: int, restricted: int) -> None:
        """State that ``atom``, where ``on`` is ``low`` to ``high``, is the atom ``restricted``."""
        key = (self.find(atom), self.find(on), low, high)
        if key in self.restrictions:
            self.unify(self.restrictions[key], restricted)
        self.restrictions[key] = restricted
        self._relate("restriction", restricted, atom)

    def tidy(self) -> None:
        """Name everything that is looked up by representatives; two of one name are one set."""
        wraps, self._wraps = self._wraps, {}
        for axis, whole in wraps.items():
            self._agree(self._wraps.setdefault(self.digits(axis), whole), whole)
        runs, self._runs = self._runs, {}
        for run, whole in runs.items():
            names = tuple(self.find(piece) for piece in run)
            self._agree(self._runs.setdefault(names, whole), whole)
        parts, self._parts = self._parts, {}
        for (on, low, high), part in parts.items():
            self._agree(self._parts.setdefault((self.find(on), low, high), part), part)
        restrictions, self.restrictions = self.restrictions, {}
        for (atom, on, low, high), restricted in restrictions.items():
            key = (self.find(atom), self.find(on), low, high)
            self._agree(self.restrictions.setdefault(key, restricted), restricted)

    def _agree(self, known: int, other: int) -> None:
        if self.find(known) != self.find(other):
            self.unify(known, other)
