"""Inputs that the general way does not fit: by argument, and by model type."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zooalign_transformers import inputs

__all__ = ["NEEDED", "REQUIRED", "SPECIAL"]

Make = Callable[[nn.Module, Any, int, torch.Generator], dict[str, Any]]


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _grid(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Patches of images, flat and one after another, and the grid (time, rows, columns) of each."""
    part = inputs.vision_config(config)
    merge = getattr(part, "spatial_merge_size", None) or 2
    rows = 2 * (merge if isinstance(merge, int) else 2)
    grid = torch.tensor([[1, rows, rows]] * batch)
    patch = getattr(part, "patch_size", 14)
    patch = patch if isinstance(patch, int) else patch[0]
    channels = getattr(part, "in_channels", None) or getattr(part, "num_channels", None) or 3
    times = getattr(part, "temporal_patch_size", None) or 1
    takes = tuple(inspect.signature(type(model).forward).parameters)
    name = "pixel_values" if "pixel_values" in takes else "hidden_states"
    flat = channels * times * patch * patch
    pixels = _normal(batch * rows * rows, flat, generator=generator)
    return {name: pixels, "grid_thw": grid}


def _boxes(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Boxes of words, left, top, right, bottom."""
    low = torch.randint(0, 30, (batch, inputs.TOKENS, 2), generator=generator)
    return {"bbox": torch.cat([low, low + 5], -1)}


def _ones(name: str, like: str) -> Make:
    """A mask of ones for another input."""

    def make(
        model: nn.Module, config: Any, batch: int, generator: torch.Generator
    ) -> dict[str, Any]:
        made = inputs.generic(model, config, batch, generator)
        frames = made[like].shape[-1] if hasattr(config, "n_window") else made[like].shape[1]
        return {name: torch.ones((batch, frames), dtype=torch.long)}

    return make


def _text(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return dict(inputs.text(config, batch, generator))


def _question(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    made = inputs.text(config.qformer_config, batch, generator)
    return {
        **_text(model, config, batch, generator),
        "qformer_input_ids": made["input_ids"],
        "qformer_attention_mask": made["attention_mask"],
    }


def _queries(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    width = config.hidden_size
    context = getattr(config, "encoder_hidden_size", width)
    return {
        "query_embeds": _normal(batch, 4, width, generator=generator),
        "encoder_hidden_states": _normal(batch, 6, context, generator=generator),
    }


def _forecast(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A series with its past, as long as its longest lag asks for."""
    past = config.context_length + max(config.lags_sequence)
    return {
        "past_values": _normal(batch, past, generator=generator),
        "past_time_features": _normal(batch, past, config.num_time_features, generator=generator),
        "past_observed_mask": torch.ones((batch, past)),
        "future_values": _normal(batch, config.prediction_length, generator=generator),
        "future_time_features": _normal(
            batch, config.prediction_length, config.num_time_features, generator=generator
        ),
    }


def _series(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    channels = getattr(config, "num_input_channels", 1)
    return {"past_values": _normal(batch, config.context_length, channels, generator=generator)}


def _embedded(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"inputs_embeds": _normal(batch, inputs.TOKENS, config.hidden_size, generator=generator)}


def _pixels(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"pixel_values": inputs.image(config, batch, generator)}


def _videos(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"pixel_values_videos": inputs.video(config, batch, generator)}


def _waves(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"input_values": _normal(batch, 1, 3200, generator=generator)}


# What forward wants without a default, by the name of the argument.
REQUIRED: dict[str, Make] = {
    "grid_thw": _grid,
    "bbox": _boxes,
    "input_features_mask": _ones("input_features_mask", "input_features"),
    "input_ids": _text,
    "qformer_input_ids": _question,
    "query_embeds": _queries,
    "past_values": _series,
    "inputs_embeds": _embedded,
    "pixel_values": _pixels,
    "pixel_values_videos": _videos,
    "input_values": _waves,
}
# Wanted though they have a default.
NEEDED = {"input_features_mask", "bbox"}


def _pair(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Two images of one place."""
    return {"pixel_values": _normal(batch, 2, 3, 64, 64, generator=generator)}


def _sound(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"input_values": _normal(batch, 1, 3200, generator=generator)}


def _text_and_pixels(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {
        **inputs.text(config, batch, generator),
        "pixel_values": inputs.image(config, batch, generator),
    }


def _text_alone(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return dict(inputs.text(config, batch, generator))


def _text_without_mask(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    made = {"input_ids": inputs.text(config, batch, generator)["input_ids"]}
    if getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = inputs.tokens(config, batch, generator)
    return made


def _canvas(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and the tokens to be refined, which the model would draw at random."""
    return {
        **inputs.text(config, batch, generator),
        "decoder_input_ids": inputs.tokens(config.get_text_config(), batch, generator),
    }


def _sights(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and features and places of objects."""
    return {
        **inputs.text(config, batch, generator),
        "visual_feats": _normal(batch, 4, config.visual_feat_dim, generator=generator),
        "visual_pos": _normal(batch, 4, config.visual_pos_dim, generator=generator),
    }


def _decisions(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Five steps of states, actions and returns."""
    return {
        "states": _normal(batch, 5, config.state_dim, generator=generator),
        "actions": _normal(batch, 5, config.act_dim, generator=generator),
        "rewards": _normal(batch, 5, 1, generator=generator),
        "returns_to_go": _normal(batch, 5, 1, generator=generator),
        "timesteps": torch.arange(5).expand(batch, 5).contiguous(),
        "attention_mask": torch.ones((batch, 5), dtype=torch.long),
    }


def _arrays(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"inputs": _normal(batch, 7, config.d_model, generator=generator)}


SPECIAL: dict[str, Make] = {
    "autoformer": _forecast,
    "informer": _forecast,
    "time_series_transformer": _forecast,
    "lightglue": _pair,
    "superglue": _pair,
    "efficientloftr": _pair,
    "dac": _sound,
    "pe_audio_encoder": _sound,
    "diffusion_gemma": _canvas,
    "bridgetower": _text_and_pixels,
    "vilt": _text_and_pixels,
    "flava": _text_and_pixels,
    "kosmos-2": _text_alone,
    "fsmt": _text_without_mask,
    "lxmert": _sights,
    "decision_transformer": _decisions,
    "perceiver": _arrays,
}
