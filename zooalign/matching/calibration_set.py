"""Calibration data as rows drawn in any order, and the loss of a merged network on them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from zooalign.errors import DataError
from zooalign.graph.batches import read_batches
from zooalign.graph.module_runner import call_module, skeleton_of
from zooalign.matching.measures import logits, task_loss
from zooalign.text import first_line

__all__ = [
    "CalibrationLoss",
    "CalibrationSet",
    "Criterion",
    "DifferentiableModule",
    "agreement",
]

# criterion(outputs, targets) is one value per row, or their mean.
Criterion = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class CalibrationSet:
    """All rows of the calibration data: inputs, and targets where there are some.

    Tensors have the rows on axis 0; other positional inputs are the same for all rows.
    """

    inputs: tuple[Any, ...]
    targets: Tensor | None
    count: int

    @classmethod
    def read(cls, batches: Iterable[Any], device: torch.device) -> "CalibrationSet":
        """Read every batch once and put them together.

        No batch, keyword inputs and rows of different shapes raise DataError.
        """
        read = [batch.to(device) for batch in read_batches(batches)]
        if any(batch.kwargs for batch in read):
            raise DataError("learned matching takes positional inputs only, not keywords")
        try:
            columns = zip(*(batch.args for batch in read), strict=True)
            inputs = tuple(torch.cat(c) if isinstance(c[0], Tensor) else c[0] for c in columns)
            labelled = all(isinstance(batch.targets, Tensor) for batch in read)
            targets = torch.cat([batch.targets for batch in read]) if labelled else None
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"learned matching draws rows from all batches together, and they do not fit: "
                f"{first_line(error)}. Give rows of one shape"
            ) from error
        count = next((len(x) for x in inputs if isinstance(x, Tensor)), 0)
        if targets is not None and len(targets) != count:
            raise DataError(f"{count} rows of inputs, {len(targets)} of targets")
        return cls(inputs, targets, count)

    def take(self, index: Tensor) -> tuple[Any, ...]:
        """The inputs of some rows; images in channels-last, which CPUs convolve faster."""
        chosen = (x[index.to(x.device)] if isinstance(x, Tensor) else x for x in self.inputs)
        return tuple(_channels_last(x) if isinstance(x, Tensor) else x for x in chosen)


class DifferentiableModule:
    """A module that is called on any tensors, with gradients, and left as it is.

    Where ``batch_statistics``, batch and instance normalisation use the batch's statistics: what
    a merged network does once its running statistics are reset.
    """

    def __init__(self, module: nn.Module, batch_statistics: bool) -> None:
        self._module = skeleton_of(module)
        self._buffers = {name for name, _ in module.named_buffers()}
        layers: Iterable[Any] = self._module.modules() if batch_statistics else ()
        for layer in layers:
            if isinstance(layer, _NormBase) and layer.running_mean is not None:
                layer.training = True
                layer.num_batches_tracked = None  # of the copy: a shared counter would go on

    def __call__(self, state: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Any:
        """The module's outputs; buffers of the state are copied, as a call may change them."""
        tensors = {
            name: t.clone() if name in self._buffers else _channels_last(t)
            for name, t in state.items()
            if not name.endswith("num_batches_tracked")
        }
        return call_module(self._module, tensors, inputs)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def agreement(outputs: Any, ends: tuple[Tensor, ...]) -> Tensor:
    """How far outputs are from those of all endpoints, without labels.

    The cross-entropy to the mean of the endpoints' probabilities (axis 1), or, where an output is
    a single number, the squared distance to their mean.
    """
    scores = logits(outputs).float()
    all_ends = torch.stack([end.float() for end in ends])
    if scores.ndim < 2 or scores.shape[1] < 2:
        return F.mse_loss(scores, all_ends.mean(0))
    mean_probabilities = all_ends.softmax(2).mean(0)
    return -(mean_probabilities * scores.log_softmax(1)).sum(1).mean()


class CalibrationLoss:
    """The loss of a merged network on calibration rows.

    With targets (and unless ``labels`` is False) it is the mean of ``criterion(outputs, targets)``,
    by default that of the task (:func:`~zooalign.matching.measures.task_loss`); else agreement with
    the outputs of the networks that were merged (``endpoints``). Normalisation by running
    statistics uses the batch's. Labels or a criterion without targets raise DataError.
    """

    def __init__(
        self,
        module: nn.Module,
        rows: CalibrationSet,
        endpoints: Sequence[Mapping[str, Tensor]],
        criterion: Criterion | None = None,
        labels: bool | None = None,
    ) -> None:
        self.rows = rows
        self.labelled = rows.targets is not None and labels is not False
        if (labels or criterion is not None) and not self.labelled:
            raise DataError(
                "labels=True and criterion= need calibration data with targets, and this data has "
                "no targets (or labels=False leaves them alone)"
            )
        self._criterion = criterion or task_loss
        self._merged = DifferentiableModule(module, batch_statistics=True)
        alone = DifferentiableModule(module, batch_statistics=False)
        states = () if self.labelled else endpoints
        self._ends = tuple(self._outputs(alone, state) for state in states)

    def _outputs(self, module: DifferentiableModule, state: Mapping[str, Tensor]) -> Tensor:
        index = torch.arange(self.rows.count)
        parts = [index[n : n + 128] for n in range(0, len(index), 128)]
        with torch.no_grad():
            return torch.cat([logits(module(state, self.rows.take(part))) for part in parts])

    def __call__(self, state: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """The loss on some rows: one value, or one for each."""
        outputs = self._merged(state, self.rows.take(index))
        if self.labelled:
            assert self.rows.targets is not None
            return self._criterion(outputs, self.rows.targets[index.to(self.rows.targets.device)])
        return agreement(outputs, tuple(end[index.to(end.device)] for end in self._ends))

    def mean(self, state: Mapping[str, Tensor], batch: int, index: Tensor | None = None) -> float:
        """The mean over rows (all if not given), in batches of similar sizes; no gradients."""
        index = torch.arange(self.rows.count) if index is None else index
        parts = index.chunk(max(1, round(len(index) / max(batch, 1))))
        with torch.no_grad():
            losses = [float(self(state, part).mean()) * len(part) for part in parts]
        return sum(losses) / len(index)
