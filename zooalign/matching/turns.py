"""Rotations and invertible maps of one group's units, for every pair of its contexts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zooalign.matching.mapped_responses import Responses
from zooalign.matching.procrustes import balance, nearest_rotation
from zooalign.symmetry.classes.elements import WORST_CONDITION
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.groups import Group

__all__ = ["Turns"]


class Turns:
    """Linear maps of one group between contexts of the two networks."""

    def __init__(self, group: Group, of: GroupClass, responses: Sequence[Responses]) -> None:
        self.group, self.level = group, of.level
        self.responses = [r for r in responses if r.exponents.linear]
        shape = (group.copies, group.size) * 2
        self.cross = [r.moments.cross.cpu().reshape(shape) for r in self.responses]
        both = {r.exponents.linear for r in self.responses} == {1, -1}
        self.balances = None
        if of.level == Level.INVERTIBLE and both:
            self.balances = self._balances("target_gram"), self._balances("source_gram")

    def _balances(self, gram: str) -> list[Tensor]:
        """Of each context, from sums in which both networks count alike."""
        shape = (self.group.copies, self.group.size, self.group.size)
        sums = {e: torch.zeros(shape, dtype=torch.float64) for e in (1, -1)}
        for r in self.responses:
            sums[r.exponents.linear] += getattr(r, gram).cpu() * r.share
        return [balance(a, b) for a, b in zip(sums[1], sums[-1], strict=True)]

    def between(self, i: int, j: int) -> tuple[Tensor, float]:
        """The map from source context ``j`` to target context ``i``, and what it gains."""
        fixing = self.level == Level.FIXING_ONES
        if not self.responses:
            return torch.eye(self.group.size, dtype=torch.float64), 0.0
        if self.balances is None:
            total = sum(
                c[i, :, j] * r.share for c, r in zip(self.cross, self.responses, strict=True)
            )
            assert isinstance(total, Tensor)
            rotation, gain = nearest_rotation(total, fixing_ones=fixing)
            return rotation, gain * self.group.copies
        mine, other = self.balances[0][i], self.balances[1][j]
        total = torch.zeros_like(mine)
        for cross, r in zip(self.cross, self.responses, strict=True):
            left, right = mine, other
            if r.exponents.linear < 0:
                left, right = torch.linalg.inv(mine), torch.linalg.inv(other)
            assert r.target_gram is not None and r.source_gram is not None
            lengths = [
                float(torch.trace(b @ gram.cpu() @ b))
                for b, gram in ((left, r.target_gram[i]), (right, r.source_gram[j]))
            ]
            size = (lengths[0] * lengths[1]) ** 0.5
            if size > 0:
                total = total + left @ cross[i, :, j] @ right / size
        rotation, gain = nearest_rotation(total)
        whole = torch.linalg.inv(mine) @ rotation @ other
        # What is seen in too few directions says nothing of the others.
        if not float(torch.linalg.cond(whole)) < WORST_CONDITION:
            whole = rotation
        return whole, gain
