"""From an architecture to a module of positional inputs."""

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from zooalign.plugins import Architecture, ModelReferenceError, ZooalignError, build_on_meta

from zooalign_transformers.configurations import make_config
from zooalign_transformers.example_inputs import example_inputs
from zooalign_transformers.experts import use_traceable_experts
from zooalign_transformers.model_classes import class_named
from zooalign_transformers.positional_module import positional
from zooalign_transformers.quiet import quiet

__all__ = ["create", "inputs_for", "positional_like", "transformers_model"]


_BESIDE_TEXT = {"pixel_values", "input_features", "input_values"}
# Parameters of a model that is built and run to try inputs.
_MOST_TRIED = 60_000_000


def transformers_model(architecture: Architecture) -> nn.Module:
    """The model as transformers builds it from its configuration, in float32."""
    where = f"transformers:{architecture.name}"
    config = make_config(architecture.config["config"], where)
    model_class = class_named(architecture.config["class"], where)
    _padding(model_class.__name__, config)
    try:
        with quiet():
            model: nn.Module = model_class._from_config(config, dtype=torch.float32)
        use_traceable_experts(model)
        return model
    except ZooalignError:
        raise
    except Exception as error:
        raise ModelReferenceError(
            f"{where}: transformers cannot build {model_class.__name__} from this configuration: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def _padding(name: str, config: Any) -> None:
    """A classifier of whole texts looks for the last token that is no padding: name one."""
    if "SequenceClassification" not in name:
        return
    part = config.get_text_config()
    if getattr(part, "pad_token_id", 0) is None:
        part.pad_token_id = 0


def create(architecture: Architecture) -> nn.Module:
    """:func:`transformers_model`, called with its inputs by position."""
    tensors, constants = inputs_for(architecture, 2)
    return positional(transformers_model(architecture), tuple(tensors), constants)


def inputs_for(architecture: Architecture, batch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Example inputs of an architecture: tensors by name, and arguments that are none."""
    key = json.dumps(architecture.to_json(), sort_keys=True)
    tensors, constants = _inputs(key, batch)
    return {name: x.clone() for name, x in tensors.items()}, copy.deepcopy(dict(constants))


@lru_cache(maxsize=32)
def _inputs(key: str, batch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    architecture = Architecture(**json.loads(key))
    model = build_on_meta(lambda: transformers_model(architecture))
    inputs = example_inputs(model, model.config, batch)
    beside_text = _BESIDE_TEXT & set(inputs)
    if "input_ids" in inputs and beside_text and not _takes(model, inputs):
        inputs = example_inputs(model, model.config, batch, images=False)
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in inputs.items() if name not in tensors}


def _takes(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether a small model (parameters on meta) runs on these inputs; a large one is not tried."""
    if sum(p.numel() for p in model.parameters()) > _MOST_TRIED:
        return True
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.02
        for name, p in model.named_parameters()
    }
    state |= {n: torch.zeros_like(b, device="cpu") for n, b in model.named_buffers() if b.is_meta}
    try:
        with torch.no_grad(), quiet():
            torch.func.functional_call(model, state, (), copy.deepcopy(dict(inputs)))
    except Exception:  # whatever else it wants besides
        return False
    return True


def positional_like(architecture: Architecture, model: nn.Module) -> nn.Module:
    """A loaded model, called as :func:`create` calls its own."""
    use_traceable_experts(model)
    tensors, constants = inputs_for(architecture, 2)
    return positional(model, tuple(tensors), constants)
