"""Calibration batches of the shapes a graph was captured on."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from zooalign.errors import DataError
from zooalign.graph.batches import Batch, read_batches
from zooalign.graph.capture import Capture
from zooalign.graph.lazy_state import State, device_of

__all__ = ["calibration_inputs", "fitting_batches", "labels_of", "rows_of"]


def fitting_batches(
    captured: Capture, state: State, data: Iterable[object]
) -> tuple[list[Batch], int]:
    """The data in batches of the captured shapes, and how many rows were left out.

    Batches are on the state dict's device, floats in its dtype. Rows of batches of another size
    are put together to batches of the captured size. Rows of other shapes (longer sequences), and
    those that fill no batch at the end, are left out.

    Raises
    ------
    DataError
        If no batch comes of it.
    """
    wanted, dtype = _captured_shapes(captured), _floating_dtype(captured, state)
    given = [batch.to(device_of(state), dtype) for batch in read_batches(data)]
    fitting = [batch for batch in given if _shapes(batch) == wanted]
    others = [batch for batch in given if _shapes(batch) != wanted]
    size = _rows(wanted)
    alike = [b for b in others if size and _with_rows(_shapes(b), rows_of(b), size) == wanted]
    regrouped = _regrouped(alike, size) if size else []
    if not fitting and not regrouped:
        first = "keyword inputs" if given[0].kwargs else _shapes(given[0])
        raise DataError(
            f"no calibration batch has the shapes of the inputs the graph was captured on, "
            f"{wanted}; the first batch has {first}. Give positional inputs, and batches of the "
            "size of the first one."
        )
    used = sum(rows_of(batch) for batch in regrouped)
    return [*fitting, *regrouped], sum(rows_of(batch) for batch in others) - used


def _regrouped(batches: Sequence[Batch], size: int) -> list[Batch]:
    """The rows of batches as batches of ``size`` rows; a rest that fills none is not among them."""
    count = sum(rows_of(batch) for batch in batches) // size
    if not count:
        return []
    columns = zip(*(batch.args for batch in batches), strict=True)
    inputs = [torch.cat(column).split(size) for column in columns]
    targets = _targets(batches)
    return [
        Batch(
            tuple(parts[n] for parts in inputs),
            {},
            None if targets is None else targets.split(size)[n],
        )
        for n in range(count)
    ]


def _targets(batches: Sequence[Batch]) -> Tensor | None:
    """The targets of all rows; None where a batch has none with one for each row."""
    targets = []
    for batch in batches:
        if not isinstance(batch.targets, Tensor) or batch.targets.shape[:1] != (rows_of(batch),):
            return None
        targets.append(batch.targets)
    return torch.cat(targets) if len({t.shape[1:] for t in targets}) == 1 else None


def _rows(shapes: Sequence[tuple[int, ...] | None] | None) -> int | None:
    """The size of the one leading axis of all inputs; None where they have no such axis."""
    sizes = {shape[0] if shape else None for shape in shapes or ()}
    return sizes.pop() if len(sizes) == 1 else None


def _with_rows(
    shapes: Sequence[tuple[int, ...] | None] | None, rows: int, size: int
) -> list[tuple[int, ...] | None] | None:
    """Shapes with ``size`` rows in place of ``rows``; None where an input has other rows."""
    if shapes is None or _rows(shapes) != rows:
        return None
    return [(size, *shape[1:]) if shape else None for shape in shapes]


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
        shapes = _shapes(batch)
        if shapes != wanted:
            given = "keyword inputs" if shapes is None else f"shapes {shapes}"
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


def labels_of(batches: Sequence[Batch]) -> Tensor | None:
    """The targets of all rows; None where a batch has none, or not one number for each row."""
    targets = _targets(batches)
    return targets if targets is not None and targets.dim() == 1 else None


def _floating_dtype(captured: Capture, state: State) -> torch.dtype | None:
    """The one floating dtype of the parameters; None where there are several or none."""
    dtypes = {state[n].dtype for n in captured.trainable if n in state}
    floating = {dtype for dtype in dtypes if dtype.is_floating_point}
    return floating.pop() if len(floating) == 1 else None


def _captured_shapes(captured: Capture) -> list[tuple[int, ...] | None]:
    examples = {n.name: n.meta.get("val") for n in captured.graph.nodes if n.op == "placeholder"}
    return [_shape(examples[name]) for name in captured.inputs]


def _shapes(batch: Batch) -> list[tuple[int, ...] | None] | None:
    """Of the positional inputs; None where a batch has keyword inputs."""
    return None if batch.kwargs else [_shape(x) for x in batch.args]


def _shape(value: object) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)
