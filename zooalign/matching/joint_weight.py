"""The joint objective of weights: inner products of the permuted tensors of every two networks.

A network may be a sequence of checkpoints (a trajectory, levels of pruning): the inner products
of checkpoints at the same place of the sequences are added up, under one permutation a network.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.joint import Family
from zooalign.matching.places import families, parameter_places
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["POWERS", "WeightObjective"]

State = Mapping[str, Tensor]

# A gain smaller than this share of what a family could hold at most may be rounding of float32.
_ROUNDING = 1e-6
POWERS = {"plain": 0.0, "balanced": 0.5, "cosine": 1.0}


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
        networks: Sequence[Sequence[State]],
        permutations: Sequence[Permutation],
        *,
        scale: str = "balanced",
    ) -> None:
        if scale not in POWERS:
            raise MergeError(f"no scale '{scale}'; there are {', '.join(POWERS)}")
        self._spec = spec
        buffers = set(spec.buffers)
        everywhere = [state for network in networks for state in network]
        names = [
            n for n in spec.by_parameter if n not in buffers and all(n in s for s in everywhere)
        ]
        self._places = parameter_places(spec, names)
        self.families = [f for f in families(spec) if any(g in self._places for g in f)]
        self._touched = {
            f: sorted({p.tensor for g in f for p in self._places.get(g, ())}) for f in self.families
        }
        self._families_at: dict[str, set[Family]] = defaultdict(set)
        for family, touched in self._touched.items():
            for name in touched:
                self._families_at[name].add(family)
        self._twice = {f: self._on_two_axes(f) for f in self.families}
        self._current: list[dict[tuple[int, str], Tensor]] = []
        self._sum: dict[tuple[int, str], Tensor] = {}
        norms: list[dict[tuple[int, str], float]] = []
        for network, permutation in zip(networks, permutations, strict=True):
            tensors, sizes = {}, {}
            for time, state in enumerate(network):
                for name in names:
                    wide = state[name].detach().float()
                    norm = _norm(name, wide)
                    size = norm ** (1.0 - POWERS[scale]) if norm else 0.0
                    scaled = wide * (size / norm) if norm else wide.clone()
                    key = (time, name)
                    tensors[key] = spec.apply_to_tensor(permutation, name, scaled)
                    sizes[key] = size
                    known = self._sum.get(key)
                    self._sum[key] = tensors[key] if known is None else known + tensors[key]
            self._current.append(tensors)
            norms.append(sizes)
        self._norms = norms
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
            for name in self._touched[family]
            for time in range(self._times)
        }
        found = {}
        for group in family:
            total: Tensor | None = None
            for place in self._places.get(group, ()):
                for time in range(self._times):
                    key = (time, place.tensor)
                    left, right = place.rows(others[key]), place.rows(own[key])
                    total = left @ right.T if total is None else total.addmm_(left, right.T)
            if total is not None:
                found[group] = total.cpu().numpy()
        return found

    def move(self, index: int, family: Family, step: Permutation) -> float:
        """See :class:`~zooalign.matching.joint.JointObjective`; gains are summed in float64."""
        own = self._current[index]
        changed, gain, most = {}, 0.0, 0.0
        for name in self._touched[family]:
            for time in range(self._times):
                key = (time, name)
                moved = self._spec.apply_to_tensor(step, name, own[key])
                others = self._sum[key] - own[key]
                gain += _inner(others, moved) - _inner(others, own[key])
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
        near = {f for name in self._touched[family] for f in self._families_at[name]}
        return (near if self._twice[family] else near - {family}), near

    def total(self) -> float:
        """Sum over pairs of the scaled inner products, in float64."""
        whole = sum(_inner(t, t) for t in self._sum.values())
        own = sum(size**2 for sizes in self._norms for size in sizes.values())
        return (whole - own) / 2

    def value(self) -> float:
        """:meth:`total` over what equal directions would give: 1 for equal networks."""
        most = 0.0
        for key in self._sum:
            sizes = [found[key] for found in self._norms]
            most += (sum(sizes) ** 2 - sum(size**2 for size in sizes)) / 2
        return self.total() / most if most else 0.0

    def _on_two_axes(self, family: Family) -> bool:
        axes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
        for group in family:
            for place in self._places.get(group, ()):
                axes[place.tensor].add(place.axes)
        return any(len(found) > 1 for found in axes.values())


def _inner(a: Tensor, b: Tensor) -> float:
    pieces = zip(a.reshape(-1).split(1 << 20), b.reshape(-1).split(1 << 20), strict=True)
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pieces)


def _norm(name: str, tensor: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    if not isfinite(norm):
        raise MergeError(
            f"'{name}' holds NaN or infinite values: models with them cannot be matched"
        )
    return norm
