"""The data of an operation: opened for a model, and described so that it can be found again."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zooalign.errors import DataError
from zooalign.matching.measures import Measure, Metric, MetricLike, measure_named
from zooalign.release.provenance import DataUse
from zooalign.release.settings import Loading, Measuring
from zooalign.zoo import hf_datasets
from zooalign.zoo.adapters import OwnData
from zooalign.zoo.data import Batches, DataBatch, DataReference, open_data
from zooalign.zoo.models import Model
from zooalign.zoo.references import import_object

__all__ = ["FullBatches", "describe_data", "open_for", "scoring"]


BY_TASK = Measuring()
# A barrier reads its data at every alpha; preprocessed batches are kept up to so many bytes.
_KEPT_BYTES = 2**29


@dataclass(frozen=True)
class FullBatches:
    """``batches`` without those of another shape than the first: a smaller last one."""

    batches: Batches

    def __iter__(self) -> Iterator[DataBatch]:
        shapes = None
        for inputs, targets in self.batches:
            batch_shapes = [tuple(x.shape) for x in inputs]
            shapes = shapes or batch_shapes
            if batch_shapes == shapes:
                yield inputs, targets


def open_for(model: Model, text: str, loading: Loading) -> Batches:
    """Open data with the model's own preprocessing; small data is preprocessed once only."""
    size, limit = loading.batch_size, loading.limit
    opened: Batches | None = None
    if isinstance(model.adapter, OwnData) and not text.startswith("py:"):
        model.config_files()  # of a hub repo, its tokenizer and processor are fetched
        opened = model.adapter.open_data(
            model.architecture, model.directory, text, batch_size=size, limit=limit
        )
    if opened is None:
        preprocess = (
            None if text.startswith("py:") else model.adapter.preprocess(model.architecture)
        )
        opened = open_data(text, preprocess=preprocess, batch_size=size, limit=limit)
    return dataclasses.replace(opened, make=_keeping(opened.make))


def scoring(model: Model, measuring: Measuring = BY_TASK) -> tuple[Measure, MetricLike | None]:
    """Loss and metric of a model's answers: those that are named, its adapter's, or the task's.

    A loss that is named brings no metric: what the targets are is for the loss to say.

    Raises
    ------
    DataError
        If no measure has the name, or ``py:`` names none.
    """
    functions = None
    if isinstance(model.adapter, OwnData):
        functions = model.adapter.scoring(model.architecture)
    loss, metric = functions or (measure_named("task", "loss"), measure_named("task", "metric"))
    if measuring.loss != "task":
        loss = _measure(measuring.loss, "loss")
        metric = measure_named("task", "metric")
    if measuring.metric != "task":
        metric = _measure(measuring.metric, "metric")
    return loss, metric


def _measure(text: str, kind: Literal["loss", "metric"]) -> Any:
    """A measure by its name, or ``py:module:callable``; of a metric with ``?better=lower``."""
    if not text.startswith("py:"):
        return measure_named(text, kind)
    reference = DataReference.parse(text)
    reference.require_options(*(["better"] if kind == "metric" else []))
    function = import_object(reference.path.removeprefix("py:"), DataError)
    if not callable(function):
        raise DataError(f"{text!r} is not callable: a {kind} is called with (outputs, targets)")
    better = reference.options.get("better", "higher")
    if better not in ("higher", "lower"):
        raise DataError(f"{text!r}: better={better!r}; write better=higher or better=lower")
    return function if kind == "loss" else Metric(function, better)


def _keeping(make: Callable[[], Iterator[DataBatch]]) -> Callable[[], Iterator[DataBatch]]:
    """Batches that are made anew each time, or kept from the first whole pass if they are small."""
    kept: list[DataBatch] | None = None

    def again() -> Iterator[DataBatch]:
        nonlocal kept
        if kept is not None:
            yield from kept
            return
        passed, size = list[DataBatch](), 0
        for batch in make():
            size += sum(x.nbytes for x in batch[0])
            if size <= _KEPT_BYTES:
                passed.append(batch)
            else:
                passed.clear()
            yield batch
        if size <= _KEPT_BYTES:
            kept = passed

    return again


def describe_data(batches: Batches, loading: Loading) -> DataUse:
    """What was read, for provenance."""
    digest, of = _digest(batches.name)
    return DataUse(batches.name, batches.rows, loading.batch_size, loading.limit, digest, of)


def _digest(text: str) -> tuple[str | None, str | None]:
    name = text if Path(text).exists() else text.partition("?")[0]
    path = Path(name.removeprefix(hf_datasets.PREFIX))
    if text.startswith("py:"):
        return None, None
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), "file"
    if path.is_dir():
        # Names and sizes only: an image folder may hold a whole training set.
        listing = sorted(
            f"{entry.relative_to(path).as_posix()} {entry.stat().st_size}"
            for entry in path.rglob("*")
            if entry.is_file()
        )
        return hashlib.sha256("\n".join(listing).encode()).hexdigest(), "names and sizes"
    return None, None
