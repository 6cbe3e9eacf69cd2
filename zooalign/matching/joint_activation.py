"""The joint objective of activations: correlations of the paired units of every two networks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.assignment import unit_order
from zooalign.matching.joint import Family
from zooalign.matching.places import families
from zooalign.matching.samples import Samples
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["ActivationObjective"]

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
