"""Example inputs of a model class, from its entry in the table."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from zooalign.plugins import ModelReferenceError

from zooalign_diffusers.model_table import Entry

__all__ = ["arguments_of", "example_inputs"]

_TOKENS, _FRAMES = 5, 3
_SIDE, _MOST_SIDE = 16, 64
_STEPS = 1000
_SEED = 0


def example_inputs(
    entry: Entry, config: Mapping[str, Any], batch: int, where: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Seeded inputs of a call, tensors by argument, and arguments that are the same in every call.

    Parameters
    ----------
    config:
        The whole configuration, defaults filled in.
    where:
        The model, for messages.

    Raises
    ------
    ModelReferenceError
        The configuration has no field that an axis is named after.
    """
    sizes = _sizes(config, batch)
    generator = torch.Generator().manual_seed(_SEED)
    tensors: dict[str, Tensor] = {}
    constants: dict[str, Any] = {}
    for name, value in arguments_of(entry, config).items():
        if not isinstance(value, str):
            constants[name] = value
            continue
        kind, _, axes = value.rpartition(":")
        shape = [_size(axis, sizes, config, f"{where}: {name}") for axis in axes.split()]
        kind, _, least = kind.partition(" ")
        if kind == "places":
            constants[name] = _places(shape)
        elif kind == "below":
            most = _size(least, sizes, config, f"{where}: {name}")
            tensors[name] = torch.randint(0, most, shape, generator=generator)
        else:
            tensors[name] = _FILL[kind](shape, generator)
    return tensors, constants


def arguments_of(entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a model of this configuration takes: some belong to a field's value."""
    kept = {}
    for name, value in entry.inputs.items():
        argument, condition, wanted = name.partition("?")
        field, equals, word = wanted.partition("=")
        given = config.get(field)
        if condition and not (given == word if equals else given):
            continue
        kept[argument] = value
    return kept


def _normal(shape: list[int], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


_FILL: Mapping[str, Callable[[list[int], torch.Generator], Tensor]] = {
    "": _normal,
    "unit": lambda shape, generator: torch.rand(shape, generator=generator),
    "step": lambda shape, generator: torch.randint(0, _STEPS, shape, generator=generator),
    "ones": lambda shape, _: torch.ones(shape),
}


def _places(shape: list[int]) -> Tensor:
    """Coordinates that differ from row to row, and from axis to axis."""
    *rows, axes = shape
    count = math.prod(rows)
    side = max(1, math.isqrt(count))
    number = torch.arange(count)
    columns = [number, number // side, number % side, 7 * number % 5]
    filled = torch.stack([columns[axis % len(columns)].float() for axis in range(axes)], dim=-1)
    return filled.reshape(shape)


def _sizes(config: Mapping[str, Any], batch: int) -> dict[str, int]:
    sample = config.get("sample_size") or _SIDE
    height, width = (sample, sample) if isinstance(sample, int) else (sample[-2], sample[-1])
    sizes = {"b": batch, "t": _TOKENS, "f": _FRAMES, "h": height, "w": width}
    sizes["side"] = min(height, width, _MOST_SIDE)
    if config.get("addition_embed_type") == "text_time":
        of_sizes = 6 * config["addition_time_embed_dim"]
        sizes["text_embeds"] = config["projection_class_embeddings_input_dim"] - of_sizes
    return sizes


def _size(axis: str, sizes: Mapping[str, int], config: Mapping[str, Any], where: str) -> int:
    size = 1
    for factor in axis.split("*"):
        value = int(factor) if factor.isdigit() else sizes.get(factor, config.get(factor))
        if isinstance(value, list | tuple) and value:  # one for each block, all alike
            value = value[0]
        if not isinstance(value, int) or value < 1:
            raise ModelReferenceError(
                f"{where}: its size is the configuration's {factor}, which is {value!r}"
            )
        size *= value
    return size
