"""The network halfway between a target and a permuted source, as a function of the permutation."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zooalign.errors import DataError
from zooalign.matching.assignment import AssignmentSolver, assign, whole
from zooalign.matching.relaxed import Relaxation
from zooalign.matching.rows import Criterion, Network, Rows, agreement, logits, score
from zooalign.matching.weight import tensors_matched
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Midpoint"]


class Midpoint:
    """The midpoint of target and permuted source, and its loss on calibration rows.

    Normalisation by running statistics uses the batch's: what a merged network does once they are
    reset. Parameters are those of :func:`~zooalign.matching.learned.learned_matching`.

    Raises
    ------
    DataError
        If labels are asked for and there are none.
    """

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        module: nn.Module,
        rows: Rows,
        criterion: Criterion | None,
        labels: bool | None,
        solver: AssignmentSolver,
    ) -> None:
        self.spec, self.rows, self.solver = spec, rows, solver
        names = [n for n in target if n in source]
        self.target, self.source = ({n: s[n] for n in names} for s in (target, source))
        self.relaxation = Relaxation(spec, tensors_matched(spec, target, source))
        self.network = Network(module, batch_statistics=True)
        self.labelled = rows.targets is not None and labels is not False
        if labels and not self.labelled:
            raise DataError("labels=True, and the calibration data has no targets")
        if criterion is not None and not self.labelled:
            raise DataError("a criterion of one's own needs data with targets")
        self.criterion = criterion or score
        ends = Network(module, batch_statistics=False)
        states = () if self.labelled else (target, source)
        self.ends = tuple(self._outputs(ends, state) for state in states)

    def _outputs(self, network: Network, state: Mapping[str, Tensor]) -> Tensor:
        index = torch.arange(self.rows.count)
        with torch.no_grad():
            return torch.cat([logits(network(state, self.rows.take(i))) for i in index.split(128)])

    def project(self, scores: Mapping[str, Tensor]) -> Permutation:
        """Round scores of pairs of units to the permutation that scores highest."""
        similarity = {g: m.detach().cpu().double().numpy() for g, m in scores.items()}
        return whole(self.spec, assign(self.spec, similarity, solver=self.solver))

    def loss(self, matrices: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Of the midpoint on some rows."""
        state = {}
        for name, tensor in self.target.items():
            other = self.source[name]
            if name in self.relaxation.places:
                other = self.relaxation.moved(matrices, name, other)
            floating = tensor.is_floating_point()
            state[name] = (tensor + other) / 2 if floating else tensor
        outputs = self.network(state, self.rows.take(index))
        if self.labelled:
            assert self.rows.targets is not None
            return self.criterion(outputs, self.rows.targets[index.to(self.rows.targets.device)])
        a, b = (end[index.to(end.device)] for end in self.ends)
        return agreement(outputs, (a, b))

    def held_out(self, permutation: Permutation, index: Tensor, batch: int) -> float:
        """Mean loss of a permutation on the rows held out, in batches of similar sizes."""
        like = next(iter(self.target.values()))
        matrices = self.relaxation.matrices(permutation, like)
        parts = index.chunk(max(1, round(len(index) / max(batch, 1))))
        with torch.no_grad():
            losses = [float(self.loss(matrices, part).mean()) * len(part) for part in parts]
        return sum(losses) / len(index)
