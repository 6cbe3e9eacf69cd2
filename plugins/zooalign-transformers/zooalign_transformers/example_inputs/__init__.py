"""Example inputs by what a model's ``forward`` takes: its model type's own, or the general ones."""

import inspect
from typing import Any

import torch
from torch import nn

from zooalign_transformers.example_inputs.basic import (
    SEED,
    InputRequest,
    Inputs,
    fit_to_first_layer,
    generic,
    is_contrastive,
)
from zooalign_transformers.example_inputs.by_model_type import NEEDED, REQUIRED, SPECIAL
from zooalign_transformers.example_inputs.placeholders import audio_in_text, image_in_text

__all__ = ["example_inputs"]

_OF_TEXT = {"input_ids", "attention_mask"}
# Inputs from which transformers computes positions and bounds of segments, outside of a trace.
_PRECOMPUTED_FROM = {
    "grid_thw",
    "image_grid_thw",
    "target_sizes",
    "feature_lens",
    "input_features_mask",
}


def example_inputs(model: nn.Module, config: Any, batch: int, *, images: bool = True) -> Inputs:
    """Seeded inputs by the names of ``forward``'s arguments, main one first.

    Integers and masks are what transformers' own processors would give for text without padding.
    ``images``: put images into the text of a model that reads both.
    """
    request = InputRequest(model, config, batch, torch.Generator().manual_seed(SEED))
    special = SPECIAL.get(config.model_type)
    inputs = special(request) if special else None
    if inputs is None and images and not is_contrastive(config):
        inputs = image_in_text(request) or audio_in_text(request)
    if inputs is None:
        inputs = generic(request)
    for name, parameter in request.arguments.items():
        needed = name in NEEDED and _belongs(name, inputs)
        wanted = parameter.default is inspect.Parameter.empty or needed
        if wanted and name not in inputs and name in REQUIRED:
            further = REQUIRED[name](request)
            inputs |= {k: v for k, v in further.items() if not (k in inputs and k in _OF_TEXT)}
    inputs = _precomputed(model, fit_to_first_layer(model, inputs))
    anything = any(p.kind == p.VAR_KEYWORD for p in request.arguments.values())
    return {name: value for name, value in inputs.items() if anything or request.takes(name)}


def _belongs(name: str, inputs: Inputs) -> bool:
    """Masks belong to features, and sizes of images to models of images alone."""
    if name == "input_features_mask":
        return "input_features" in inputs
    return name != "target_sizes" or "input_ids" not in inputs


def _precomputed(model: nn.Module, inputs: Inputs) -> Inputs:
    """Add the arguments that transformers computes outside of a trace."""
    if not _PRECOMPUTED_FROM & set(inputs):
        return inputs
    from transformers.exporters.utils import precompute_export_inputs

    inputs = dict(inputs)
    precompute_export_inputs(model, inputs)
    return inputs
