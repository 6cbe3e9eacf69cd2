"""What users pass: modules or state dicts, example inputs or data to take them from."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import read_batches, require_repeatable
from zooalign.graph.lazy_state import device_of, float_state

__all__ = [
    "Inputs",
    "ModuleOrState",
    "as_inputs",
    "floats_of",
    "inputs_from",
    "module_of",
    "state_of",
]

ModuleOrState = nn.Module | Mapping[str, Tensor]
Inputs = Tensor | Sequence[object]

# Two rows, so that nothing takes the batch for an axis of size one.
_ROWS = 2


def as_inputs(inputs: Inputs) -> tuple[object, ...]:
    """Positional inputs; a tensor alone is the only one.

    Raises
    ------
    DataError
        If they are keyword inputs, an array, or a shape.
    """
    if isinstance(inputs, Tensor):
        return (inputs,)
    if isinstance(inputs, Mapping):
        raise DataError(
            f"example inputs are positional, and a mapping of {', '.join(map(repr, inputs))} was "
            "given: pass its values in the order of the module's forward, or wrap the module"
        )
    if not isinstance(inputs, Sequence):
        raise DataError(
            f"example inputs are a tensor or a sequence of positional inputs, not "
            f"{type(inputs).__name__}: pass torch.as_tensor(...)"
        )
    if inputs and all(type(value) is int for value in inputs):
        raise DataError(
            f"{tuple(inputs)} is a shape: pass an example input, such as torch.zeros{tuple(inputs)}"
        )
    return tuple(inputs)


def inputs_from(example_inputs: Inputs | None, data: Iterable[object] | None) -> tuple[object, ...]:
    """The example inputs given, or else the first rows of the data's first batch.

    Raises
    ------
    DataError
        If there are neither, or the data can be read once only or holds keyword inputs.
    """
    if example_inputs is not None:
        return as_inputs(example_inputs)
    if data is None:
        raise DataError(
            "the module is traced with example inputs, and there is neither data to take them "
            "from nor example_inputs: pass example_inputs=(tensor, ...)"
        )
    require_repeatable(data, "data")
    batch = next(read_batches(data))
    if batch.kwargs:
        raise DataError(
            "batches are mappings of keyword inputs, and a module is traced with positional ones: "
            "give ((x1, x2), targets), or wrap the module"
        )
    rows = {x.shape[0] if x.ndim else 0 for x in batch.args if isinstance(x, Tensor)}
    if len(rows) == 1 and rows.pop() >= _ROWS:
        return tuple(x[:_ROWS] if isinstance(x, Tensor) else x for x in batch.args)
    return batch.args


def state_of(model: ModuleOrState) -> Mapping[str, Tensor]:
    """The state dict of a module, or the one given."""
    return model.state_dict() if isinstance(model, nn.Module) else model


def floats_of(models: Iterable[ModuleOrState], first: ModuleOrState) -> list[dict[str, Tensor]]:
    """State dicts to compute with, on the device of the first model's."""
    device = device_of(state_of(first))
    return [float_state(state_of(model), device) for model in models]


def module_of(module: nn.Module | None, *models: ModuleOrState) -> nn.Module:
    """The module given, or the first one among the models; MergeError if there is none."""
    architecture = next((m for m in (module, *models) if isinstance(m, nn.Module)), None)
    if architecture is None:
        raise MergeError(
            "only state dicts were given, and nothing says which architecture they are of: pass "
            "module="
        )
    return architecture
