"""Joint coordinate ascent: several networks, one permutation each, one objective over all pairs.

With x_i what is compared of network i (its weights, or its units' standardised responses) the
objective is the sum over pairs of ``<P_i x_i, P_j x_j>``. As a function of one P_i it is the
similarity of x_i to the sum of all others, so that one assignment for one family of groups of one
network is an exact step, and a sweep costs as many assignments as there are networks, not pairs.
Every accepted step raises the objective. Moving one network at a time by all its families until
nothing gains is MergeMany (Ainsworth et al., arXiv 2209.04836, Algorithm 3) but for the scale of
the mean; going through the families of all networks is finer, and is what is done for a universe.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.assignment import best_step, unit_order
from zooalign.matching.samples import Samples
from zooalign.matching.unit_views import families
from zooalign.matching.weight import (
    POWERS,
    ROUNDING,
    GroupFamily,
    WeightFamilies,
    inner,
    norm,
    tensors_matched,
)
from zooalign.progress import StepProgress, silent_steps
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["ActivationObjective", "JointObjective", "WeightObjective", "ascend"]

Key = TypeVar("Key", bound=Hashable)

# The ascent ends when a sweep over everything that may gain adds less than this share.
_WORTH = 1e-4
_MOST_SWEEPS = 50


class JointObjective(ABC, Generic[Key]):
    """What several networks have in common, as a function of one permutation each.

    Held in memory: what is compared of every network, as it stands, and the sum over the networks.
    """

    # Those that stand anywhere that is compared.
    families: Sequence[GroupFamily]

    def __init__(
        self,
        spec: PermutationSpec,
        networks: Iterable[Iterable[tuple[Key, Tensor]]],
        permutations: Sequence[Permutation],
    ) -> None:
        self._spec = spec
        self._current: list[dict[Key, Tensor]] = []
        self._sum: dict[Key, Tensor] = {}
        for network, permutation in zip(networks, permutations, strict=True):
            placed = {key: self._moved(key, permutation, tensor) for key, tensor in network}
            self._current.append(placed)
            for key, tensor in placed.items():
                known = self._sum.get(key)
                self._sum[key] = tensor if known is None else known + tensor

    @property
    def count(self) -> int:
        """How many networks there are."""
        return len(self._current)

    def move(self, index: int, family: GroupFamily, step: Permutation) -> float:
        """Take the step if it gains more than rounding; what it gains, 0.0 if it was not taken."""
        current = self._current[index]
        changed, gain, most = {}, 0.0, 0.0
        for key in self._keys(family):
            others = self._sum[key] - current[key]
            moved = self._moved(key, step, current[key])
            gained, bound = self._gain(index, key, others, moved)
            gain, most = gain + gained, most + bound
            changed[key] = (moved, others)
        if gain <= ROUNDING * most:
            return 0.0
        for key, (moved, others) in changed.items():
            current[key], self._sum[key] = moved, others + moved
        return gain

    @abstractmethod
    def similarity(self, index: int, family: GroupFamily) -> dict[str, np.ndarray]:
        """Per group: units of the sum of the other networks by units of this one, as it stands."""

    @abstractmethod
    def neighbours(self, family: GroupFamily) -> tuple[set[GroupFamily], set[GroupFamily]]:
        """Families whose best assignment may change when one moves: in its network, in others."""

    @abstractmethod
    def value(self) -> float:
        """The objective, divided by the most it could be."""

    @abstractmethod
    def total(self) -> float:
        """The objective in the units of the gains."""

    @abstractmethod
    def _keys(self, family: GroupFamily) -> Iterable[Key]:
        """What of a network moves with a family."""

    @abstractmethod
    def _moved(self, key: Key, step: Permutation, tensor: Tensor) -> Tensor:
        """What is compared, under a permutation."""

    @abstractmethod
    def _gain(self, index: int, key: Key, others: Tensor, moved: Tensor) -> tuple[float, float]:
        """The change of the inner product with the other networks, and the most it can be."""


def ascend(
    spec: PermutationSpec,
    objective: JointObjective[Key],
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
        Stands at ``permutations``, and at the returned ones afterwards.
    moving:
        The networks that may move; all if not given.
    by_network:
        Move one network until none of its families gains before the next one (MergeMany); else
        take a family of all networks before the next family.

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
            step, _, promised = best_step(spec, objective.similarity(index, family))
            gain = objective.move(index, family, step) if promised > 0.0 else 0.0
            if gain <= 0.0:
                continue
            gained += gain
            reached[index] = spec.compose(step, reached[index])
            in_network, in_others = objective.neighbours(family)
            waiting |= {(index, other) for other in in_network}
            waiting |= {(n, other) for n in moving if n != index for other in in_others}
        progress(sweeps)
        if gained <= _WORTH * abs(objective.total()):
            break
    return tuple(reached), sweeps


def _order(
    waiting: set[tuple[int, GroupFamily]],
    families: Sequence[GroupFamily],
    moving: Sequence[int],
    by_network: bool,
    generator: np.random.Generator,
) -> list[tuple[int, GroupFamily]]:
    """What waits in random order, but in blocks of one network, or of one family."""
    drawn = [families[n] for n in generator.permutation(len(families))]
    networks = [moving[n] for n in generator.permutation(len(moving))]
    if by_network:
        pairs = [(index, family) for index in networks for family in drawn]
    else:
        pairs = [(index, family) for family in drawn for index in networks]
    return [pair for pair in pairs if pair in waiting]


class ActivationObjective(JointObjective[str]):
    """By group, the responses of units; families do not interact.

    ``permutations`` says where each network is to stand; the samples are of the networks as given.
    """

    def __init__(
        self, spec: PermutationSpec, samples: Samples, permutations: Sequence[Permutation]
    ) -> None:
        self._places = samples.places
        self.families = [f for f in families(spec) if any(g in samples.places for g in f)]
        super().__init__(spec, [rows.items() for rows in samples.rows], permutations)

    def similarity(self, index: int, family: GroupFamily) -> dict[str, np.ndarray]:
        """In float32."""
        current = self._current[index]
        return {
            g: ((self._sum[g] - current[g]) @ current[g].T).cpu().numpy()
            for g in self._keys(family)
        }

    def neighbours(self, family: GroupFamily) -> tuple[set[GroupFamily], set[GroupFamily]]:
        """The family itself, in the other networks."""
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
        squares = [float(rows[group].double().square().sum()) for rows in self._current]
        return (float(self._sum[group].double().square().sum()) - sum(squares)) / 2

    def _keys(self, family: GroupFamily) -> list[str]:
        return [group for group in family if group in self._sum]

    def _moved(self, key: str, step: Permutation, tensor: Tensor) -> Tensor:
        order = torch.from_numpy(unit_order(self._spec, key, step)).to(tensor.device)
        return tensor.index_select(0, order)

    def _gain(self, index: int, key: str, others: Tensor, moved: Tensor) -> tuple[float, float]:
        difference = moved.double() - self._current[index][key].double()
        return float((others.double() * difference).sum()), float(others.norm() * moved.norm())


class WeightObjective(JointObjective[tuple[int, str]]):
    """By checkpoint and name, the tensors of the state dicts, in float32.

    ``networks`` has one sequence of state dicts a network, all of one length. Every tensor is
    divided by its norm to the power that ``scale`` gives: the same scale for every pair.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        networks: Sequence[Sequence[Mapping[str, Tensor]]],
        permutations: Sequence[Permutation],
        *,
        scale: str = "balanced",
    ) -> None:
        everywhere = [state for network in networks for state in network]
        matched = tensors_matched(spec, everywhere[0], everywhere[-1])
        names = [n for n in matched if all(n in state for state in everywhere)]
        self._where = WeightFamilies(spec, names)
        self.families = self._where.families
        self._times = len(networks[0])
        self._norms: list[dict[tuple[int, str], float]] = []
        scaled = (self._scaled(network, names, POWERS[scale]) for network in networks)
        super().__init__(spec, scaled, permutations)

    def _scaled(
        self, network: Sequence[Mapping[str, Tensor]], names: Sequence[str], power: float
    ) -> Iterator[tuple[tuple[int, str], Tensor]]:
        sizes: dict[tuple[int, str], float] = {}
        self._norms.append(sizes)
        for time, state in enumerate(network):
            for name in names:
                tensor = state[name].detach().float()
                length = norm(name, tensor)
                sizes[time, name] = length ** (1.0 - power) if length else 0.0
                scaled = tensor * (sizes[time, name] / length) if length else tensor.clone()
                yield (time, name), scaled

    def similarity(self, index: int, family: GroupFamily) -> dict[str, np.ndarray]:
        """In float32."""
        current = self._current[index]
        others = {key: self._sum[key] - current[key] for key in self._keys(family)}
        similarity = {}
        for group in family:
            total: Tensor | None = None
            for place in self._where.places.get(group, ()):
                for time in range(self._times):
                    key = (time, place.tensor)
                    left, right = place.rows(others[key]), place.rows(current[key])
                    total = left @ right.T if total is None else total.addmm_(left, right.T)
            if total is not None:
                similarity[group] = total.cpu().numpy()
        return similarity

    def neighbours(self, family: GroupFamily) -> tuple[set[GroupFamily], set[GroupFamily]]:
        """Families that share a tensor with it."""
        near = self._where.disturbed_by(family)
        return (near if family in self._where.twice else near - {family}), near

    def total(self) -> float:
        """Sum over pairs of the scaled inner products, in float64."""
        of_sum = sum(inner(t, t) for t in self._sum.values())
        of_each = sum(size**2 for sizes in self._norms for size in sizes.values())
        return (of_sum - of_each) / 2

    def value(self) -> float:
        """:meth:`total` over what equal directions would give: 1 for equal networks."""
        most = 0.0
        for key in self._sum:
            sizes = [norms[key] for norms in self._norms]
            most += (sum(sizes) ** 2 - sum(size**2 for size in sizes)) / 2
        return self.total() / most if most else 0.0

    def _keys(self, family: GroupFamily) -> list[tuple[int, str]]:
        return [(n, name) for name in self._where.touched[family] for n in range(self._times)]

    def _moved(self, key: tuple[int, str], step: Permutation, tensor: Tensor) -> Tensor:
        return self._spec.apply_to_tensor(step, key[1], tensor)

    def _gain(
        self, index: int, key: tuple[int, str], others: Tensor, moved: Tensor
    ) -> tuple[float, float]:
        norms = sum(sizes[key] for n, sizes in enumerate(self._norms) if n != index)
        gain = inner(others, moved) - inner(others, self._current[index][key])
        return gain, self._norms[index][key] * norms
