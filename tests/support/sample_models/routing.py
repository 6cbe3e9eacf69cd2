"""Mixtures of experts that choose, in the ways found in the wild."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BEST", "EXPERTS", "UNITS", "Mixture"]

EXPERTS, UNITS, BEST = 6, 5, 2  # experts, units in each, experts chosen


class Mixture(nn.Module):
    """A router over experts of one hidden layer each, computed for all experts at once."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first = nn.Linear(3, 7)
        self.router = nn.Linear(7, EXPERTS)
        self.preference = nn.Parameter(torch.randn(EXPERTS))
        self.up = nn.Parameter(torch.randn(EXPERTS, UNITS, 7))
        self.down = nn.Parameter(torch.randn(EXPERTS, 7, UNITS))
        self.last = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        scores = torch.sigmoid(self.router(x))
        units = torch.relu(torch.einsum("th,eih->tei", x, self.up))
        answers = torch.einsum("tei,ehi->teh", units, self.down)
        mixed = torch.einsum("te,teh->th", self.weights(scores), answers)
        return self.last(x + mixed)

    def weights(self, scores: Tensor) -> Tensor:
        """The weight of every expert, zero for those not chosen."""
        if self.how == "groups":  # the best of the experts of the best of three groups
            groups = scores.view(-1, 3, EXPERTS // 3)
            best = groups.amax(-1)
            kept = torch.zeros_like(best).scatter(1, best.topk(1, dim=-1)[1], 1.0).bool()
            kept = kept[..., None].expand_as(groups).reshape_as(scores)
            scores = scores.masked_fill(~kept, 0.0)
        values, chosen = scores.topk(BEST, dim=-1)
        if self.how in ("one hot", "groups"):
            return (F.one_hot(chosen, EXPERTS).to(scores.dtype) * values[..., None]).sum(1)
        if self.how == "scatter":
            return torch.zeros_like(scores).scatter(-1, chosen, values)
        if self.how == "gather":
            chosen = (scores + self.preference).topk(BEST, dim=-1)[1]
            values = scores.gather(-1, chosen)
            return torch.zeros_like(scores).scatter(-1, chosen, values / values.sum(-1, True))
        if self.how == "table":
            values = self.preference[chosen] * values
            return torch.zeros_like(scores).scatter(-1, chosen, values)
        if self.how == "numbers as values":
            return torch.zeros_like(scores).scatter(-1, chosen, values * chosen)
        if self.how == "compared with a range":
            return (chosen[..., None] == torch.arange(EXPERTS)).to(scores.dtype).sum(1) * scores
        raise ValueError(self.how)
