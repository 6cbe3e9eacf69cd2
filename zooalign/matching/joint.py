"""Joint coordinate ascent: several networks, one permutation each, one objective over all pairs.

With x_i what is compared of network i (its weights, or its units' standardised responses) the
objective is the sum over pairs of ``<P_i x_i, P_j x_j>``. As a function of one P_i it is the
similarity of x_i to the sum of all others, so that one assignment for one family of groups of one
network is an exact step, and a sweep costs as many assignments as there are networks, not pairs.
Every accepted step raises the objective. Moving one network at a time by all its families until
nothing gains is MergeMany (Ainsworth et al., arXiv 2209.04836, Algorithm 3) but for the scale of
the mean; going through the families of all networks is finer, and is what is done for a universe.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from zooalign.matching.assignment import AssignmentSolver, assign, linear, unit_order, whole
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["JointObjective", "ascend"]

Family = tuple[str, ...]
Progress = Callable[[int], None]

# The ascent ends when a sweep over everything that may gain adds less than this share.
_WORTH = 1e-4
_MOST_SWEEPS = 50


class JointObjective(Protocol):
    """What several networks have in common, as a function of one permutation each.

    A family is groups that are assigned together. ``neighbours`` says, for a family that moved, the
    families whose best assignment may have changed, in the network that moved and in the others.
    """

    @property
    def families(self) -> Sequence[Family]:
        """Those that stand anywhere that is compared."""

    @property
    def count(self) -> int:
        """How many networks there are."""

    def similarity(self, index: int, family: Family) -> dict[str, np.ndarray]:
        """Per group: units of the sum of the other networks by units of this one, as it stands."""

    def move(self, index: int, family: Family, step: Permutation) -> float:
        """Take the step if it gains more than rounding; what it gains, 0.0 if it was not taken."""

    def neighbours(self, family: Family) -> tuple[set[Family], set[Family]]:
        """(of the network that moved, of the others)."""

    def value(self) -> float:
        """The objective, divided by the most it could be."""

    def total(self) -> float:
        """The objective in the units of the gains."""


def ascend(
    spec: PermutationSpec,
    objective: JointObjective,
    permutations: Sequence[Permutation],
    *,
    moving: Sequence[int] | None = None,
    by_network: bool = False,
    seed: int = 0,
    solver: AssignmentSolver = linear,
    progress: Progress | None = None,
) -> tuple[tuple[Permutation, ...], int]:
    """Raise the objective from where it stands until a whole sweep gains nothing worth it.

    Parameters
    ----------
    objective:
        Changed in place: it stands at the permutations found afterwards.
    permutations:
        Where it stands, one a network.
    moving:
        The networks that may move; all if not given.
    by_network:
        Move one network until none of its families gains before the next one (MergeMany); else
        take a family of all networks before the next family.
    seed:
        For the order of families and networks.

    Returns
    -------
    The permutations and the number of sweeps.
    """
    found = list(permutations)
    moving = tuple(range(objective.count)) if moving is None else tuple(moving)
    generator = np.random.default_rng(seed)
    waiting = {(index, family) for index in moving for family in objective.families}
    sweeps = 0
    while waiting and sweeps < _MOST_SWEEPS:
        sweeps += 1
        gained = 0.0
        for index, family in _order(waiting, objective.families, moving, by_network, generator):
            if (index, family) not in waiting:
                continue
            waiting.discard((index, family))
            similarity = objective.similarity(index, family)
            step = whole(spec, assign(spec, similarity, solver=solver))
            if not _promises(spec, similarity, step):
                continue
            gain = objective.move(index, family, step)
            if gain <= 0.0:
                continue
            gained += gain
            found[index] = spec.compose(step, found[index])
            own, others = objective.neighbours(family)
            waiting |= {(index, other) for other in own}
            waiting |= {(n, other) for n in moving if n != index for other in others}
        if progress is not None:
            progress(sweeps)
        if gained <= _WORTH * abs(objective.total()):
            break
    return tuple(found), sweeps


def _order(
    waiting: set[tuple[int, Family]],
    families: Sequence[Family],
    moving: Sequence[int],
    by_network: bool,
    generator: np.random.Generator,
) -> list[tuple[int, Family]]:
    """What waits in random order, but in blocks of one network, or of one family."""
    drawn = [families[n] for n in generator.permutation(len(families))]
    networks = [moving[n] for n in generator.permutation(len(moving))]
    if by_network:
        pairs = [(index, family) for index in networks for family in drawn]
    else:
        pairs = [(index, family) for family in drawn for index in networks]
    return [pair for pair in pairs if pair in waiting]


def _promises(
    spec: PermutationSpec, similarity: Mapping[str, np.ndarray], step: Permutation
) -> bool:
    """Whether the step pairs more similar units at all; it is not tried otherwise."""
    value = sum(
        float(m[np.arange(len(m)), unit_order(spec, g, step)].sum(dtype=np.float64))
        for g, m in similarity.items()
    )
    return value > sum(float(np.trace(m, dtype=np.float64)) for m in similarity.values())
