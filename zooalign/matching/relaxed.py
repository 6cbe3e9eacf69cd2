"""State dicts under matrices in place of permutations: what relaxations of matching compute with.

A permutation of a group is a 0-1 matrix over all its units in all contexts, target by source. Put
any matrices there (doubly stochastic ones, say) and a permuted state dict becomes a function that
is linear in each of them and has derivatives.
"""

from collections.abc import Iterable, Mapping
from math import prod

import torch
from torch import Tensor

from zooalign.matching.assignment import unit_order
from zooalign.matching.unit_views import UnitView, by_tensor, parameter_views
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Relaxation", "softened"]


class Relaxation:
    """How matrices of groups act on the tensors of an architecture.

    Attributes
    ----------
    places:
        By tensor, where units stand.
    sizes:
        Per group that has a matrix, the number of its units in all contexts. A group has none
        where groups nested in it stand at all its places: the inner matrices move its units.
    """

    def __init__(self, spec: PermutationSpec, names: Iterable[str]) -> None:
        self.spec = spec
        places = parameter_views(spec, names)
        self.places = by_tensor(places)
        self.sizes = {g: spec.by_id[g].copies * spec.by_id[g].size for g in places}

    def matrices(self, permutation: Permutation, like: Tensor) -> dict[str, Tensor]:
        """The 0-1 matrices of a permutation, in the dtype and on the device of ``like``."""
        matrices = {}
        for name, size in self.sizes.items():
            order = torch.from_numpy(unit_order(self.spec, name, permutation))
            matrices[name] = like.new_zeros(size, size)
            matrices[name][torch.arange(size), order.to(like.device)] = 1.0
        return matrices

    def uniform(self, like: Tensor) -> dict[str, Tensor]:
        """The mean of all permutations; it takes no side."""
        means = {}
        for name in self.sizes:
            group = self.spec.by_id[name]
            matrix = like.new_ones(1, 1)
            counts = [*zip(group.over, group.contexts, strict=True), (group.id, group.size)]
            for outer, count in counts:
                fixed = outer in self.spec.fixed_sets
                block = torch.eye(count) if fixed else torch.full((count, count), 1 / count)
                matrix = torch.kron(matrix, block.to(like))
            means[name] = matrix
        return means

    def moved(self, matrices: Mapping[str, Tensor], name: str, tensor: Tensor) -> Tensor:
        """One tensor under the matrices; differentiable in both."""
        for place in self.places.get(name, ()):
            tensor = _apply(place, matrices[place.group], tensor)
        return tensor

    @property
    def degree(self) -> int:
        """Of the polynomials that tensors become where all matrices move along a line."""
        return max((len(views) for views in self.places.values()), default=0)


def _apply(place: UnitView, matrix: Tensor, tensor: Tensor) -> Tensor:
    axes = tuple(range(len(place.axes)))
    front = tensor.movedim(place.axes, axes)
    extent = prod(front.shape[: len(axes)])
    rows = matrix @ place.rows(tensor)
    if place.whole and place.positions.size == extent:
        return rows.reshape(front.shape).movedim(axes, place.axes)
    index = torch.from_numpy(place.positions.reshape(-1)).to(tensor.device)
    flat = front.reshape(extent, -1).index_copy(0, index, rows.reshape(index.numel(), -1))
    return flat.reshape(front.shape).movedim(axes, place.axes)


def softened(
    spec: PermutationSpec, scores: Mapping[str, Tensor], temperature: float, rounds: int = 10
) -> dict[str, Tensor]:
    """Doubly stochastic matrices near the permutations that scores ask for; differentiable.

    Sinkhorn's normalisation of ``exp(scores / temperature)``. Nested groups: within each pair of
    contexts first; what the pair then scores decides how the contexts pair up.
    """
    soft = {}
    for name, matrix in scores.items():
        group = spec.by_id[name]
        copies, size = group.copies, group.size
        blocks = matrix.reshape(copies, size, copies, size).transpose(1, 2)
        inside = _sinkhorn(blocks / temperature, rounds)
        if group.over:
            pairs = (inside * blocks).sum((-1, -2))
            allowed = pairs.new_ones(1, 1)
            for outer, count in zip(group.over, group.contexts, strict=True):
                fixed = outer in spec.fixed_sets
                block = torch.eye(count) if fixed else torch.ones(count, count)
                allowed = torch.kron(allowed, block.to(pairs))
            pairs = (pairs / temperature).masked_fill(allowed == 0, -torch.inf)
            inside = inside * _sinkhorn(pairs, rounds)[:, :, None, None]
        soft[name] = inside.transpose(1, 2).reshape(matrix.shape)
    return soft


def _sinkhorn(scores: Tensor, rounds: int) -> Tensor:
    for _ in range(rounds):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores.exp()
