"""Sound in a language model's text: placeholder tokens, as many as the model makes of a sound."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from zooalign_transformers import inputs
from zooalign_transformers.in_place import with_places
from zooalign_transformers.quiet import quiet

__all__ = ["sound_in_text"]

_TOKENS = ("audio_token_id", "audio_token_index")
_MASKS = ("input_features_mask", "feature_attention_mask", "padding_mask", "input_values_mask")
_MOST = 400  # tokens of one sound
_MOST_PARAMETERS = 60_000_000


def sound_in_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any] | None:
    """``input_ids`` with a sound in each row, and the sound; None where this is another model.

    The model is run once on random values to count what it makes of the sound, if it is small.
    """
    takes = inspect.signature(type(model).forward).parameters
    token = next((t for n in _TOKENS if isinstance(t := getattr(config, n, None), int)), None)
    name = next((n for n in ("input_features", "input_values") if n in takes), None)
    if token is None or token < 0 or name is None or "input_ids" not in takes:
        return None
    if sum(p.numel() for p in model.parameters()) > _MOST_PARAMETERS:
        return None
    owner = _filled(next((m for m in model.modules() if hasattr(m, "get_audio_features")), None))
    if owner is None:
        return None
    width = _width(model)
    for made in _variants(model, config, name, batch, takes):
        count = _count(owner, made, width)
        if count and count % batch == 0 and count <= _MOST * batch:
            kept = {k: v for k, v in made.items() if k in takes}
            rows = with_places(config, takes, token, count // batch, batch, generator, kind=3)
            return {**rows, **kept}
    return None


def _variants(
    model: nn.Module, config: Any, name: str, batch: int, takes: Any
) -> Iterator[dict[str, Any]]:
    """The sound with frames before or after bins, and a mask of ones for either."""
    generator = torch.Generator().manual_seed(0)
    sound = inputs.fitted(model, {name: inputs.sound(name, config, batch, generator)})[name]
    layouts = [sound] if sound.ndim < 3 else [sound, sound.transpose(1, 2).contiguous()]
    masks = [mask for mask in _MASKS if mask in takes]
    for layout in layouts:
        lengths = dict.fromkeys((layout.shape[-1], layout.shape[1]))
        for length in lengths if masks else (0,):
            ones = torch.ones((batch, length), dtype=torch.long)
            yield {name: layout, **dict.fromkeys(masks, ones)}
            yield {name: layout, **{mask: ones.bool() for mask in masks}}


def _filled(owner: nn.Module | None) -> Any:
    """A copy with small random numbers for parameters, which have no values yet."""
    if owner is None:
        return None
    generator = torch.Generator().manual_seed(0)
    found = copy.deepcopy(owner)
    for module in found.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                values = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                module._parameters[name] = nn.Parameter(values * 0.02, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros_like(buffer, device="cpu")
    return found


def _width(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[-1])


def _count(owner: Any, made: dict[str, Any], width: int) -> int | None:
    """How many tokens the model makes of these sounds; None where it does not take them."""
    takes = inspect.signature(owner.get_audio_features).parameters
    given = {name: value for name, value in made.items() if name in takes}
    try:
        with torch.no_grad(), quiet():
            result = owner.get_audio_features(**given)
    except Exception:  # another layout, or more inputs
        return None
    named = dict(result) if isinstance(result, dict) else {"pooler_output": result}
    leaves = tree_leaves(named.get("pooler_output"))
    rows = [x for x in leaves if isinstance(x, Tensor) and x.shape[-1:] == (width,)]
    return sum(x.numel() for x in rows) // width
