"""State dicts under matrices in place of permutations: what relaxations of matching compute with.

A permutation of a group is a 0-1 matrix over all its units in all contexts, target by source. Put
any matrices there (doubly stochastic ones, say) and a permuted state dict becomes a function that
is linear in each of them and has derivatives.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from zooalign.graph.lazy_state import as_real
from zooalign.matching.assignment import assign, unit_order, whole
from zooalign.matching.unit_views import (
    UnitView,
    by_tensor,
    from_front,
    parameter_views,
    to_front,
)
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Relaxation", "softened"]


class Relaxation:
    """How matrices of groups act on the tensors of an architecture.

    ``sizes`` has per group with a matrix the number of its units in all contexts. A group has none
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
            matrices[name] = as_real(like).new_zeros(size, size)
            matrices[name][torch.arange(size), order.to(like.device)] = 1.0
        return matrices

    def uniform(self, like: Tensor) -> dict[str, Tensor]:
        """The mean of all permutations; it takes no side."""
        means = {}
        for name in self.sizes:
            group = self.spec.by_id[name]
            sets = {**dict(zip(group.over, group.contexts, strict=True)), group.id: group.size}
            means[name] = _outer(self.spec, sets, as_real(like), mean=True)
        return means

    def moved(self, matrices: Mapping[str, Tensor], name: str, tensor: Tensor) -> Tensor:
        """One tensor under the matrices; differentiable in both."""
        for place in self.places.get(name, ()):
            tensor = _apply(place, matrices[place.group], tensor)
        return tensor

    def project(self, scores: Mapping[str, Tensor]) -> Permutation:
        """The permutation that matrices of scores ask for."""
        similarity = {g: m.detach().cpu().numpy() for g, m in scores.items()}
        return whole(self.spec, assign(self.spec, similarity))

    @property
    def degree(self) -> int:
        """Of the polynomials that tensors become where all matrices move along a line."""
        return max((len(views) for views in self.places.values()), default=0)


def _apply(place: UnitView, matrix: Tensor, tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return torch.view_as_complex(_apply(place, matrix, as_real(tensor)).contiguous())
    flat = to_front(tensor, place.axes)
    rows = matrix @ place.rows(tensor)
    if place.whole and place.positions.size == len(flat):
        flat = rows.reshape(flat.shape)
    else:
        index = torch.from_numpy(place.positions.reshape(-1)).to(tensor.device)
        flat = flat.index_copy(0, index, rows.reshape(index.numel(), *flat.shape[1:]))
    return from_front(flat, place.axes, [tensor.shape[a] for a in place.axes])


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
            sets = dict(zip(group.over, group.contexts, strict=True))
            allowed = _outer(spec, sets, pairs, mean=False)
            pairs = (pairs / temperature).masked_fill(allowed == 0, -torch.inf)
            inside = inside * _sinkhorn(pairs, rounds)[:, :, None, None]
        soft[name] = inside.transpose(1, 2).reshape(matrix.shape)
    return soft


def _outer(spec: PermutationSpec, sets: Mapping[str, int], like: Tensor, *, mean: bool) -> Tensor:
    """Kronecker product over index sets of the mean permutation, or of which pairs are allowed."""
    matrix = like.new_ones(1, 1)
    for name, count in sets.items():
        entry = 1 / count if mean else 1.0
        fixed = name in spec.fixed_sets
        block = torch.eye(count) if fixed else torch.full((count, count), entry)
        matrix = torch.kron(matrix, block.to(like))
    return matrix


def _sinkhorn(scores: Tensor, rounds: int) -> Tensor:
    for _ in range(rounds):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores.exp()
