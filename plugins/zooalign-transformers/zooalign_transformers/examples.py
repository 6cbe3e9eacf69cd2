"""Example inputs by what a model's ``forward`` takes: its own, nested, or the general ones."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from zooalign_transformers.in_place import image_in_text
from zooalign_transformers.inputs import SEED, both_towers, fitted, generic
from zooalign_transformers.sound_in_text import sound_in_text
from zooalign_transformers.special import NEEDED, REQUIRED, SPECIAL

__all__ = ["example_inputs"]

_OF_TEXT = {"input_ids", "attention_mask"}


def example_inputs(
    model: nn.Module, config: Any, batch: int, *, images: bool = True
) -> dict[str, Any]:
    """Seeded inputs by the names of ``forward``'s arguments, main one first.

    Integers and masks are what transformers' own processors would make for text without padding.
    ``images``: put images into the text of a model that reads both.
    """
    generator = torch.Generator().manual_seed(SEED)
    takes = inspect.signature(type(model).forward).parameters
    special = SPECIAL.get(config.model_type)
    made = special(model, config, batch, generator) if special else None
    if made is None and images and not both_towers(config):
        made = image_in_text(model, config, batch, generator)
        made = made or sound_in_text(model, config, batch, generator)
    if made is None:
        made = generic(model, config, batch, generator)
    for name, parameter in takes.items():
        needed = name in NEEDED and _fits(name, made)
        wanted = parameter.default is inspect.Parameter.empty or needed
        if wanted and name not in made and name in REQUIRED:
            new = REQUIRED[name](model, config, batch, generator)
            made |= {k: v for k, v in new.items() if not (k in made and k in _OF_TEXT)}
    made = _precomputed(model, fitted(model, made))
    return {name: value for name, value in made.items() if _takes(takes, name)}


def _fits(name: str, made: Mapping[str, Any]) -> bool:
    """Masks belong to features, and sizes of images to models of images alone."""
    if name == "input_features_mask":
        return "input_features" in made
    return name != "target_sizes" or "input_ids" not in made


def _precomputed(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Arguments that transformers computes outside of a trace: positions, bounds of segments."""
    wanted = ("grid_thw", "image_grid_thw", "target_sizes", "feature_lens", "input_features_mask")
    if not any(name in made for name in wanted):
        return made
    from transformers.exporters.utils import precompute_export_inputs

    found = dict(made)
    precompute_export_inputs(model, found)
    return found


def _takes(takes: Any, name: str) -> bool:
    return name in takes or any(p.kind == p.VAR_KEYWORD for p in takes.values())
