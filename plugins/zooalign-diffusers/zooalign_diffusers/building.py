"""From an architecture to a module of positional inputs, and back to its ``config.json``."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor, nn
from zooalign.plugins import Architecture, ModelReferenceError, build_on_meta

from zooalign_diffusers.example_inputs import example_inputs
from zooalign_diffusers.model_classes import class_named, complete, entry_named, quiet
from zooalign_diffusers.positional_module import positional

__all__ = ["config_json", "create", "expected_tensors", "inputs_for", "positional_like"]


def diffusers_model(architecture: Architecture) -> nn.Module:
    """The model as diffusers builds it from its configuration."""
    where = f"diffusers:{architecture.name}"
    model_class = class_named(architecture.name, where)
    try:
        with quiet():
            model: nn.Module = model_class.from_config(dict(architecture.config))
        return model
    except Exception as error:
        raise ModelReferenceError(
            f"{where}: diffusers cannot build it from this configuration: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def create(architecture: Architecture) -> nn.Module:
    """:func:`diffusers_model`, called with its inputs by position."""
    return positional_like(architecture, diffusers_model(architecture))


def positional_like(architecture: Architecture, model: nn.Module) -> nn.Module:
    """A loaded model, called as :func:`create` calls its own."""
    where = f"diffusers:{architecture.name}"
    tensors, constants = inputs_for(architecture, 2)
    entry = entry_named(architecture.name, where)
    return positional(model, tuple(tensors), constants, latents=entry.latents)


def inputs_for(architecture: Architecture, batch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Example inputs of an architecture: tensors by name, and arguments that are none."""
    where = f"diffusers:{architecture.name}"
    config = complete(class_named(architecture.name, where), architecture.config)
    return example_inputs(entry_named(architecture.name, where), config, batch, where)


def expected_tensors(architecture: Architecture) -> Mapping[str, Tensor]:
    """The state dict of an architecture on the meta device, built once."""
    return _expected_tensors(json.dumps(architecture.to_json(), sort_keys=True))


@lru_cache(maxsize=8)
def _expected_tensors(key: str) -> Mapping[str, Tensor]:
    architecture = Architecture(**json.loads(key))
    state: Mapping[str, Tensor] = build_on_meta(lambda: create(architecture)).state_dict()
    return state


def config_json(architecture: Architecture) -> bytes:
    """The ``config.json`` that diffusers writes for this architecture."""
    model: Any = build_on_meta(lambda: diffusers_model(architecture))
    content: str = model.to_json_string()
    fields = json.loads(content)
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()
