"""What users pass: modules, opened models or state dicts; data, or example inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import Batch, read_batches, require_repeatable
from zooalign.graph.dtypes import in_widest_dtypes, is_finite
from zooalign.graph.keyword_inputs import called_by_position, keyword_order
from zooalign.graph.lazy_state import device_of, float_state
from zooalign.graph.wrappers import unwrapped, without_wrappers
from zooalign.matching.measures import Measure, MetricLike, measure_named
from zooalign.zoo.adapters import Architecture, LibraryAdapter, ModulesInMemory, OwnData
from zooalign.zoo.libraries import library_adapters
from zooalign.zoo.models import Model

__all__ = [
    "Inputs",
    "ModelLike",
    "Network",
    "State",
    "as_inputs",
    "floats_of",
    "network_of",
    "state_of",
]

ModelLike = nn.Module | Model | Mapping[str, Tensor]
Inputs = Tensor | Sequence[object] | Mapping[str, object]

# Two rows, so that nothing takes the batch for an axis of size one.
_ROWS = 2
_TASK = "task"


@dataclass(frozen=True)
class Network:
    """An architecture that is called by position, and how batches and targets fit it.

    ``names`` are the keyword inputs that the module takes by position; ``architecture`` and
    ``adapter`` are of a library's model.
    """

    module: nn.Module
    names: tuple[str, ...] = ()
    architecture: Architecture | None = None
    adapter: LibraryAdapter | None = None

    def batches(self, data: Iterable[object]) -> Iterable[object]:
        """Data in the form that the module takes, read anew each time."""
        by_name = self.names or self.adapter is not None
        return _Converted(data, self._by_position) if by_name else data

    def batches_of(self, data: Iterable[object] | None) -> Iterable[object] | None:
        """As :meth:`batches`, where there is data."""
        return None if data is None else self.batches(data)

    def inputs(
        self, example_inputs: Inputs | None, data: Iterable[object] | None
    ) -> tuple[object, ...]:
        """The example inputs given, or else the first rows of the data's first batch.

        Raises
        ------
        DataError
            If there are neither, or the data can be read once only.
        """
        if example_inputs is not None:
            if isinstance(example_inputs, Mapping):
                return next(read_batches([self._by_position(example_inputs)])).args
            return self._on_its_device(as_inputs(example_inputs))
        if data is None:
            raise DataError(
                "the module is traced with example inputs, and there is neither data to take them "
                "from nor example_inputs: pass example_inputs=(tensor, ...)"
            )
        require_repeatable(data, "data")
        return _first_rows(next(read_batches(self.batches(data))))

    def _on_its_device(self, inputs: tuple[object, ...]) -> tuple[object, ...]:
        empty = [n for n, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_meta]
        if empty and not any(parameter.is_meta for parameter in self.module.parameters()):
            raise DataError(f"example input {empty[0]} is on the meta device and holds no values")
        return inputs

    def measures(
        self, loss: Measure | str, metric: MetricLike | str | None
    ) -> tuple[Measure, MetricLike | None]:
        """The loss and the metric that are named; by default those of the library's model."""
        own = None
        if self.architecture is not None and isinstance(self.adapter, OwnData):
            own = self.adapter.scoring(self.architecture)
        if own is not None and loss == _TASK:
            loss = own[0]
        if own is not None and metric == _TASK:
            metric = own[1]
        return measure_named(loss, "loss"), measure_named(metric, "metric")

    def _by_position(self, batch: object) -> object:
        if not isinstance(batch, Mapping):
            return batch
        if self.architecture is not None and isinstance(self.adapter, ModulesInMemory):
            return self.adapter.as_batch(self.architecture, batch)
        if missing := [name for name in self.names if name not in batch]:
            raise DataError(
                f"a batch has {', '.join(batch)}, and the first one had {', '.join(self.names)}: "
                f"'{missing[0]}' is missing"
            )
        return tuple(batch[name] for name in self.names), batch.get("labels")


class _Converted:
    """An iterable whose elements are changed each time it is read."""

    def __init__(self, data: Iterable[object], change: Callable[[object], object]) -> None:
        self._data, self._change = data, change

    def __iter__(self) -> Iterator[object]:
        return map(self._change, self._data)


def network_of(
    module: ModelLike | None,
    *models: ModelLike,
    data: Iterable[object] | None = None,
    example_inputs: Inputs | None = None,
) -> Network:
    """The architecture of ``module``, or else of the first of the models that has one.

    Wrappers (``DataParallel``, ``torch.compile``) are taken off. A library's model is built anew
    and called as its library's references are; any other is called with the keywords that the
    example inputs or the data's first batch name, if they do.

    Raises
    ------
    MergeError
        If there are state dicts alone.
    DataError
        If the module takes no input of a name.
    """
    named = next((m for m in (module, *models) if isinstance(m, (nn.Module, Model))), None)
    if named is None:
        raise MergeError(
            "only state dicts were given, and nothing says which architecture they are of: pass "
            "module="
        )
    if isinstance(named, Model):
        return Network(named.build(), (), named.architecture, named.adapter)
    plain = unwrapped(named)
    for adapter in library_adapters():
        if isinstance(adapter, ModulesInMemory):
            architecture = adapter.architecture_of(plain)
            if architecture is not None:
                return Network(adapter.build(architecture), (), architecture, adapter)
    keywords = example_inputs
    if keywords is None and data is not None:
        require_repeatable(data, "data")
        batch = next(read_batches(data))
        keywords = None if batch.args else batch.kwargs
    if not isinstance(keywords, Mapping):
        return Network(plain)
    names = keyword_order(plain, [name for name in keywords if name != "labels"])
    return Network(called_by_position(plain, names), names)


def as_inputs(inputs: Inputs) -> tuple[object, ...]:
    """Positional inputs; a tensor alone is the only one.

    Raises
    ------
    DataError
        If they are an array, a shape, or something else.
    """
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise DataError(
            "example inputs are a tensor, a sequence of positional inputs or a mapping of keyword "
            f"inputs, not {type(inputs).__name__}: pass torch.as_tensor(...)"
        )
    if inputs and all(type(value) is int for value in inputs):
        raise DataError(
            f"{tuple(inputs)} is a shape: pass an example input, such as torch.zeros{tuple(inputs)}"
        )
    return tuple(inputs)


def _first_rows(batch: Batch) -> tuple[object, ...]:
    rows = {x.shape[0] if x.ndim else 0 for x in batch.args if isinstance(x, Tensor)}
    if len(rows) == 1 and rows.pop() >= _ROWS:
        return tuple(x[:_ROWS] if isinstance(x, Tensor) else x for x in batch.args)
    return batch.args


@dataclass(frozen=True)
class State:
    """A model's tensors by the architecture's names; ``beside`` is what else its state dict has."""

    tensors: Mapping[str, Tensor]
    beside: dict[str, Any]


def state_of(model: ModelLike, network: Network | None) -> State:
    """The state of a model, or the one given, without the names of wrappers.

    Without a network a state dict is taken as it is.

    Raises
    ------
    MergeError
        If a parameter holds NaN or infinity, or something is no model.
    """
    if isinstance(model, nn.Module):
        state: Mapping[str, Any] = unwrapped(model).state_dict()
    elif isinstance(model, Model):
        state = dict(model.state_dict())
    elif isinstance(model, Mapping):
        state = model
    else:
        raise MergeError(
            f"a {type(model).__name__} is not a model: pass a torch.nn.Module, a state dict, or "
            "what open_model gives"
        )
    module = nn.Module() if network is None else network.module
    state = without_wrappers(state, module.state_dict().keys()) or state
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name, _ in module.named_parameters(remove_duplicate=False):
        if name in tensors and not is_finite(tensors[name]):
            raise MergeError(
                f"'{name}' holds NaN or infinity, which nothing can be aligned or averaged with: "
                "use weights from before the training diverged"
            )
    return State(tensors, {name: v for name, v in state.items() if name not in tensors})


def floats_of(states: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """State dicts to compute with, on the device of the first, of one precision."""
    device = device_of(states[0])
    return [dict(s) for s in in_widest_dtypes([float_state(state, device) for state in states])]
