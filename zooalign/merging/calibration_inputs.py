"""Calibration batches of the shapes a graph was captured on."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from zooalign.errors import DataError
from zooalign.graph.batches import Batch, read_batches
from zooalign.graph.capture import Capture
from zooalign.graph.lazy_state import State, device_of

__all__ = ["calibration_inputs", "fitting_batches", "labels_of", "rows_of"]


def fitting_batches(captured: Capture, state: State, data: Iterable[object]) -> list[Batch]:
    """The batches of the captured shapes, on the state dict's device, floats in its dtype.

    Raises
    ------
    DataError
        If there is none.
    """
    wanted, dtype = _captured_shapes(captured), _floating_dtype(captured, state)
    given = [batch.to(device_of(state), dtype) for batch in read_batches(data)]
    fitting = [b for b in given if not b.kwargs and [_shape(x) for x in b.args] == wanted]
    if not fitting:
        first = "keyword inputs" if given[0].kwargs else [_shape(x) for x in given[0].args]
        raise DataError(
            f"no calibration batch has the shapes of the inputs the graph was captured on, "
            f"{wanted}; the first batch has {first}. Give positional inputs, and batches of the "
            "size of the first one."
        )
    return fitting


def calibration_inputs(
    captured: Capture, state: State, data: Iterable[object]
) -> list[tuple[object, ...]]:
    """The inputs of all batches, on the state dict's device, floats in its dtype.

    Raises
    ------
    DataError
        If a batch has other shapes than the captured ones.
    """
    device, dtype = device_of(state), _floating_dtype(captured, state)
    wanted = _captured_shapes(captured)
    inputs = []
    for index, batch in enumerate(read_batches(data)):
        shapes = [_shape(x) for x in batch.args]
        if batch.kwargs or shapes != wanted:
            given = "keyword inputs" if batch.kwargs else f"shapes {shapes}"
            raise DataError(
                f"calibration batch {index} has {given}; the graph was captured with positional "
                f"inputs of shapes {wanted}. Use batches of one size, and leave out "
                "the last one if it is smaller."
            )
        inputs.append(batch.to(device, dtype).args)
    return inputs


def rows_of(batch: Batch) -> int:
    """How many rows (images, sequences) a batch has; 1 where its inputs have no axis for it."""
    sizes = {len(x) for x in batch.args if isinstance(x, Tensor) and x.dim()}
    return max(sizes, default=1)


def labels_of(batches: Sequence[Batch], rows: int) -> Tensor | None:
    """The targets of all rows; None where a batch has none, or not one for each row."""
    targets = [b.targets for b in batches if isinstance(b.targets, Tensor)]
    if len(targets) < len(batches) or any(t.shape != (rows,) for t in targets):
        return None
    return torch.cat(targets)


def _floating_dtype(captured: Capture, state: State) -> torch.dtype | None:
    """The one floating dtype of the parameters; None where there are several or none."""
    dtypes = {state[n].dtype for n in captured.trainable if n in state}
    floating = {dtype for dtype in dtypes if dtype.is_floating_point}
    return floating.pop() if len(floating) == 1 else None


def _captured_shapes(captured: Capture) -> list[tuple[int, ...] | None]:
    examples = {n.name: n.meta.get("val") for n in captured.graph.nodes if n.op == "placeholder"}
    return [_shape(examples[name]) for name in captured.inputs]


def _shape(value: object) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)
