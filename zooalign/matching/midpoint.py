"""The network halfway between a target and a permuted source, as a function of the permutation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zooalign.matching.assignment import assign, whole
from zooalign.matching.calibration_set import CalibrationLoss
from zooalign.matching.problem import MatchProblem
from zooalign.matching.relaxed import Relaxation
from zooalign.matching.weight import tensors_matched
from zooalign.symmetry.permutation import Permutation

__all__ = ["Midpoint"]


class Midpoint:
    """The midpoint of target and permuted source, and its loss on calibration rows."""

    def __init__(self, problem: MatchProblem, loss: CalibrationLoss) -> None:
        self.spec = problem.spec
        self._loss = loss
        names = [n for n in problem.target if n in problem.source]
        self.target = {n: problem.target[n] for n in names}
        self._source = {n: problem.source[n] for n in names}
        matched = tensors_matched(problem.spec, problem.target, problem.source)
        self.relaxation = Relaxation(problem.spec, matched)

    @property
    def rows(self) -> int:
        """How many rows the calibration data has."""
        return self._loss.rows.count

    @property
    def labelled(self) -> bool:
        """Whether the loss is by the data's targets."""
        return self._loss.labelled

    def project(self, scores: Mapping[str, Tensor]) -> Permutation:
        """The permutation that scores ask for."""
        similarity = {g: m.detach().cpu().double().numpy() for g, m in scores.items()}
        return whole(self.spec, assign(self.spec, similarity))

    def state(self, matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of target and source, the source under matrices; differentiable in them."""
        midpoint = {}
        for name, tensor in self.target.items():
            other = self._source[name]
            if name in self.relaxation.places:
                other = self.relaxation.moved(matrices, name, other)
            midpoint[name] = (tensor + other) / 2 if tensor.is_floating_point() else tensor
        return midpoint

    def loss(self, matrices: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Of the midpoint on some rows."""
        return self._loss(self.state(matrices), index)

    def mean_loss(self, permutation: Permutation, batch: int, index: Tensor | None = None) -> float:
        """Mean loss under a permutation, on all rows or some; no gradients."""
        like = next(iter(self.target.values()))
        with torch.no_grad():
            state = self.state(self.relaxation.matrices(permutation, like))
        return self._loss.mean(state, batch, index)
