"""Joint coordinate ascent: several networks, one permutation each, one objective over all pairs.

With x_i what is compared of network i (its weights, or its units' standardised responses) the
objective is the sum over pairs of ``<P_i x_i, P_j x_j>``. As a function of one P_i it is the
similarity of x_i to the sum of all others, so that one assignment for one family of groups of one
network is an exact step, and a sweep costs as many assignments as there are networks, not pairs.
Every accepted step raises the objective. Moving one network at a time by all its families until
nothing gains is MergeMany (Ainsworth et al., arXiv 2209.04836, Algorithm 3) but for the scale of
the mean; going through the families of all networks is finer, and is what is done for a universe.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.assignment import assign, unit_order, whole
from zooalign.matching.samples import Samples
from zooalign.matching.unit_views import families
from zooalign.matching.weight import Family, WeightFamilies, inner, norm, power_of
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["ActivationObjective", "JointObjective", "WeightObjective", "ascend"]


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
    progress: StepProgress = silent_steps,
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
    reached = list(permutations)
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
            step = whole(spec, assign(spec, similarity))
            if not _promises(spec, similarity, step):
                continue
            gain = objective.move(index, family, step)
            if gain <= 0.0:
                continue
            gained += gain
            reached[index] = spec.compose(step, reached[index])
            own, others = objective.neighbours(family)
            waiting |= {(index, other) for other in own}
            waiting |= {(n, other) for n in moving if n != index for other in others}
        progress(sweeps)
        if gained <= _WORTH * abs(objective.total()):
            break
    return tuple(reached), sweeps


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


# A gain smaller than this share of what a family could hold at most may be rounding of float32.
_ROUNDING = 1e-6


class ActivationObjective:
    """Implements :class:`~zooalign.matching.joint.JointObjective`; families do not interact.

    ``permutations`` says where each network is to stand; the samples are of the networks as they
    are. Held in memory: the samples and the sum of them over the networks.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        samples: Samples,
        permutations: Sequence[Permutation],
    ) -> None:
        self._spec, self._places = spec, samples.places
        self.families = [f for f in families(spec) if any(g in samples.places for g in f)]
        self._current: list[dict[str, Tensor]] = []
        self._sum: dict[str, Tensor] = {}
        for own, permutation in zip(samples.rows, permutations, strict=True):
            placed = {g: _moved(spec, g, permutation, rows) for g, rows in own.items()}
            self._current.append(placed)
            for group, rows in placed.items():
                known = self._sum.get(group)
                self._sum[group] = rows if known is None else known + rows

    @property
    def count(self) -> int:
        """How many networks there are."""
        return len(self._current)

    def similarity(self, index: int, family: Family) -> dict[str, np.ndarray]:
        """See :class:`~zooalign.matching.joint.JointObjective`; float32."""
        own = self._current[index]
        return {
            g: ((self._sum[g] - own[g]) @ own[g].T).cpu().numpy() for g in family if g in self._sum
        }

    def move(self, index: int, family: Family, step: Permutation) -> float:
        """See :class:`~zooalign.matching.joint.JointObjective`; gains are summed in float64."""
        own, changed, gain, most = self._current[index], {}, 0.0, 0.0
        for group in family:
            if group not in self._sum:
                continue
            others = self._sum[group] - own[group]
            moved = _moved(self._spec, group, step, own[group])
            gain += float((others.double() * (moved.double() - own[group].double())).sum())
            most += float(others.norm() * moved.norm())
            changed[group] = (moved, others)
        if gain <= _ROUNDING * most:
            return 0.0
        for group, (moved, others) in changed.items():
            own[group], self._sum[group] = moved, others + moved
        return gain

    def neighbours(self, family: Family) -> tuple[set[Family], set[Family]]:
        """See :class:`~zooalign.matching.joint.JointObjective`."""
        return set(), {family}

    def total(self) -> float:
        """Sum over pairs and units of the correlations."""
        return sum(self._paired(g) for g in self._sum)

    def value(self) -> float:
        """Mean correlation of paired units, over pairs of networks, units and places."""
        pairs = self.count * (self.count - 1) / 2
        units = sum(len(rows) for rows in self._sum.values())
        paired = sum(self._paired(g) / self._places[g] for g in self._sum)
        return paired / (pairs * units) if pairs and units else 0.0

    def _paired(self, group: str) -> float:
        squares = [float(own[group].double().square().sum()) for own in self._current]
        return (float(self._sum[group].double().square().sum()) - sum(squares)) / 2


def _moved(spec: PermutationSpec, group: str, step: Permutation, rows: Tensor) -> Tensor:
    order = torch.from_numpy(unit_order(spec, group, step)).to(rows.device)
    return rows.index_select(0, order)


class WeightObjective:
    """Implements :class:`~zooalign.matching.joint.JointObjective`.

    Parameters
    ----------
    networks:
        One sequence of state dicts a network, all of one length.
    permutations:
        Where each network stands.
    scale:
        ``plain``, ``balanced`` or ``cosine`` as for
        :func:`~zooalign.matching.weight.weight_matching`: every tensor is divided by its norm to
        the power 0, 1/2 or 1, which is the same scale for every pair.

    Raises
    ------
    MergeError
        If a tensor holds a value that is not finite, or the scale is not known.

    Notes
    -----
    Held in memory: a float32 copy of every network and one of their sum.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        networks: Sequence[Sequence[Mapping[str, Tensor]]],
        permutations: Sequence[Permutation],
        *,
        scale: str = "balanced",
    ) -> None:
        power = power_of(scale)
        self._spec = spec
        buffers = set(spec.buffers)
        everywhere = [state for network in networks for state in network]
        names = [
            n for n in spec.by_parameter if n not in buffers and all(n in s for s in everywhere)
        ]
        self._where = WeightFamilies(spec, names)
        self.families = self._where.families
        self._current: list[dict[tuple[int, str], Tensor]] = []
        self._sum: dict[tuple[int, str], Tensor] = {}
        self._norms: list[dict[tuple[int, str], float]] = []
        for network, permutation in zip(networks, permutations, strict=True):
            tensors, sizes = {}, {}
            for time, state in enumerate(network):
                for name in names:
                    tensor = state[name].detach().float()
                    length = norm(name, tensor)
                    size = length ** (1.0 - power) if length else 0.0
                    scaled = tensor * (size / length) if length else tensor.clone()
                    key = (time, name)
                    tensors[key] = spec.apply_to_tensor(permutation, name, scaled)
                    sizes[key] = size
                    known = self._sum.get(key)
                    self._sum[key] = tensors[key] if known is None else known + tensors[key]
            self._current.append(tensors)
            self._norms.append(sizes)
        self._times = len(networks[0])

    @property
    def count(self) -> int:
        """How many networks there are."""
        return len(self._current)

    def similarity(self, index: int, family: Family) -> dict[str, np.ndarray]:
        """See :class:`~zooalign.matching.joint.JointObjective`; float32."""
        own = self._current[index]
        others = {
            (time, name): self._sum[time, name] - own[time, name]
            for name in self._where.touched[family]
            for time in range(self._times)
        }
        similarity = {}
        for group in family:
            total: Tensor | None = None
            for place in self._where.places.get(group, ()):
                for time in range(self._times):
                    key = (time, place.tensor)
                    left, right = place.rows(others[key]), place.rows(own[key])
                    total = left @ right.T if total is None else total.addmm_(left, right.T)
            if total is not None:
                similarity[group] = total.cpu().numpy()
        return similarity

    def move(self, index: int, family: Family, step: Permutation) -> float:
        """See :class:`~zooalign.matching.joint.JointObjective`; gains are summed in float64."""
        own = self._current[index]
        changed, gain, most = {}, 0.0, 0.0
        for name in self._where.touched[family]:
            for time in range(self._times):
                key = (time, name)
                moved = self._spec.apply_to_tensor(step, name, own[key])
                others = self._sum[key] - own[key]
                gain += inner(others, moved) - inner(others, own[key])
                most += self._norms[index][key] * sum(
                    sizes[key] for n, sizes in enumerate(self._norms) if n != index
                )
                changed[key] = (moved, others)
        if gain <= _ROUNDING * most:
            return 0.0
        for key, (moved, others) in changed.items():
            own[key] = moved
            self._sum[key] = others + moved
        return gain

    def neighbours(self, family: Family) -> tuple[set[Family], set[Family]]:
        """See :class:`~zooalign.matching.joint.JointObjective`."""
        near = self._where.disturbed_by(family)
        return (near if family in self._where.twice else near - {family}), near

    def total(self) -> float:
        """Sum over pairs of the scaled inner products, in float64."""
        whole = sum(inner(t, t) for t in self._sum.values())
        own = sum(size**2 for sizes in self._norms for size in sizes.values())
        return (whole - own) / 2

    def value(self) -> float:
        """:meth:`total` over what equal directions would give: 1 for equal networks."""
        most = 0.0
        for key in self._sum:
            sizes = [norms[key] for norms in self._norms]
            most += (sum(sizes) ** 2 - sum(size**2 for size in sizes)) / 2
        return self.total() / most if most else 0.0
