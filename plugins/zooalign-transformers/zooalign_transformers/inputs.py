"""Example inputs by what a model's ``forward`` takes: text, images, sound, or several."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "TOKENS",
    "Make",
    "example_inputs",
    "fitted",
    "generic",
    "image",
    "normal",
    "sound",
    "text",
    "tokens",
    "video",
    "vision_config",
]

_SEED = 0
TOKENS = 8
_LOWEST = 5  # below are often the special tokens: padding, begin, end, unknown, mask

Make = Callable[[nn.Module, Any, int, torch.Generator], dict[str, Any]]


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Normally distributed numbers."""
    return torch.randn(shape, generator=generator)


def example_inputs(
    model: nn.Module, config: Any, batch: int, *, images: bool = True
) -> dict[str, Any]:
    """Seeded inputs by the names of ``forward``'s arguments, main one first.

    Integers and masks are what transformers' own processors would make for text without padding.
    ``images``: put images into the text of a model that reads both.
    """
    generator = torch.Generator().manual_seed(_SEED)
    takes = inspect.signature(type(model).forward).parameters
    from zooalign_transformers.in_place import image_in_text
    from zooalign_transformers.sound_in_text import sound_in_text
    from zooalign_transformers.special import NEEDED, REQUIRED, SPECIAL

    special = SPECIAL.get(config.model_type)
    made = special(model, config, batch, generator) if special else None
    if made is None and images and not _both_towers(config):
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


def fitted(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Spectrograms in the layout of the layer that reads them first."""
    features = made.get("input_features")
    turned = getattr(model.config, "model_type", "") == "speech_to_text"  # by the model itself
    if not isinstance(features, Tensor) or features.ndim != 3 or turned:
        return made
    named = dict(model.named_modules())
    linear = next((m for n, m in named.items() if n.endswith("input_linear")), None)
    conv = next((m for m in named.values() if isinstance(m, nn.Conv1d)), None)
    if isinstance(linear, nn.Linear) and features.shape[-1] != linear.in_features:
        batch, frames, _ = features.shape
        generator = torch.Generator().manual_seed(_SEED)
        shape = (batch, frames, linear.in_features)
        return {**made, "input_features": torch.randn(shape, generator=generator)}
    wanted = None if conv is None else conv.in_channels
    if wanted == features.shape[2] != features.shape[1] and linear is None:
        return {**made, "input_features": features.transpose(1, 2).contiguous()}
    return made


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


def generic(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    takes = inspect.signature(type(model).forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    made: dict[str, Any] = {}
    if main in takes and main in _SOUND:
        made[main] = _SOUND[main](config, batch, generator)
    elif main == "pixel_values" and config.model_type in _VIDEO:
        made[main] = video(config, batch, generator)
    elif "pixel_values" in takes and (main.startswith("pixel_values") or "input_ids" not in takes):
        made["pixel_values"] = image(config, batch, generator)
    elif "pixel_values_videos" in takes and main == "pixel_values_videos":
        made["pixel_values_videos"] = video(config, batch, generator)
    elif "input_ids" not in takes:
        for name, make in _SOUND.items():
            if name in takes:
                made[name] = make(config, batch, generator)
                break
    if "input_ids" in takes and (not made or _both_towers(config)):
        made |= text(config, batch, generator)
        if _both_towers(config) and "pixel_values" in takes:
            made["pixel_values"] = image(config, batch, generator)
        elif _both_towers(config):
            for name, make in _SOUND.items():
                if name in takes:
                    made[name] = make(config, batch, generator)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        made["decoder_input_ids"] = tokens(_text_config(config, decoder=True), batch, generator)
    return {name: value for name, value in made.items() if name in takes}


def _both_towers(config: Any) -> bool:
    """Whether this is a contrastive model: two encoders whose embeddings meet."""
    towers = {"text_config", "vision_config", "audio_config"} & set(vars(config))
    seen = ("image", "audio")
    generates = any("token_i" in n and any(s in n for s in seen) for n in vars(config))
    return len(towers) > 1 and not generates


def _text_config(config: Any, decoder: bool = False) -> Any:
    try:
        return config.get_text_config(decoder=decoder)
    except Exception:  # several text parts
        return config


def text(config: Any, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """``input_ids`` and an ``attention_mask`` of ones."""
    ids = tokens(_text_config(config), batch, generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def tokens(config: Any, batch: int, generator: torch.Generator, count: int = TOKENS) -> Tensor:
    """Random tokens, the last one the end of text, where the config names one."""
    size = getattr(config, "vocab_size", None) or 99
    size = min(size) if isinstance(size, (list, tuple)) else size
    ids = torch.randint(min(_LOWEST, size - 1), size, (batch, count), generator=generator)
    end = getattr(config, "eos_token_id", None)
    if isinstance(end, int) and 0 <= end < size:
        ids[ids == end] = min(_LOWEST, size - 1) + (end == min(_LOWEST, size - 1))
        ids[:, -1] = end
    return ids


def image(config: Any, batch: int, generator: torch.Generator) -> Tensor:
    """Normalised pixels (batch, channels, height, width) at the config's size."""
    part = vision_config(config)
    channels = _first(part, "num_channels", "in_channels", "in_chans", "num_image_channels") or 3
    return torch.randn((batch, channels, *image_size(part)), generator=generator)


def video(config: Any, batch: int, generator: torch.Generator) -> Tensor:
    """Pixels (batch, frames, channels, height, width)."""
    part = vision_config(config)
    frames = _first(part, "num_frames", "frames_per_clip") or 4
    channels = _first(part, "num_channels", "in_channels", "in_chans") or 3
    return torch.randn((batch, frames, channels, *image_size(part)), generator=generator)


def vision_config(config: Any) -> Any:
    """The part of a config that says what images are."""
    for name in ("vision_config", "backbone_config", "vision_encoder_config", "encoder"):
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, dict):
            return part
    return config


def image_size(config: Any) -> tuple[int, int]:
    """Height and width."""
    for name in ("image_size", "img_size", "input_size", "crop_size"):
        found = getattr(config, name, None)
        if isinstance(found, int) and found > 3:
            return found, found
        if isinstance(found, (list, tuple)) and len(found) >= 2:
            return int(found[-2]), int(found[-1])
        if isinstance(found, dict) and "height" in found:
            return int(found["height"]), int(found["width"])
    inner = getattr(config, "backbone_config", None)
    return (64, 64) if inner is None or isinstance(inner, dict) else image_size(inner)


def _first(config: Any, *names: str) -> Any:
    for name in names:
        if isinstance(getattr(config, name, None), int):
            return getattr(config, name)
    return None


def sound(name: str, config: Any, batch: int, generator: torch.Generator) -> Tensor:
    """What a model takes as ``input_values`` (waves) or ``input_features`` (spectrograms)."""
    return _SOUND[name](config, batch, generator)


def _audio_config(config: Any) -> Any:
    for name in ("audio_config", "encoder_config", "audio_encoder_config", "asr_config"):
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, dict):
            return part
    return config


def _wave(config: Any, batch: int, generator: torch.Generator) -> Tensor:
    """Sound waves (batch, samples), or spectrograms where the config counts mel bins."""
    config = _audio_config(config)
    bins = _first(config, "num_mel_bins", "audio_features")
    if bins and hasattr(config, "max_length") and not hasattr(config, "conv_kernel"):
        return torch.randn((batch, config.max_length, bins), generator=generator)
    channels = _first(config, "audio_channels")
    shape = (batch, channels, 3200) if channels else (batch, 3200)
    return torch.randn(shape, generator=generator)


def _spectrogram(config: Any, batch: int, generator: torch.Generator) -> Tensor:
    """Log-mel features: (batch, bins, frames) for Whisper's kind, else (batch, frames, bins)."""
    config = _audio_config(config)
    bins = _first(config, "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
    bins = bins or _first(config, "input_dim", "mel_bins", "n_mels", "feature_size") or 80
    bins *= _first(config, "num_stacked_frames") or 1
    if hasattr(config, "n_window"):  # whole windows of frames
        return torch.randn((batch, bins, 2 * config.n_window), generator=generator)
    frames = _first(config, "max_source_positions")
    rows = ("num_conv_layers", "feature_projection_input_dim")
    if frames and not any(hasattr(config, name) for name in rows):
        return torch.randn((batch, bins, 2 * frames), generator=generator)
    return torch.randn((batch, 64, bins), generator=generator)


_OF_TEXT = {"input_ids", "attention_mask"}
# Videos under the name of images.
_VIDEO = {"timesformer", "vivit", "videomae", "xclip_vision_model", "videoprism", "vjepa2"}
_SOUND: dict[str, Callable[[Any, int, torch.Generator], Tensor]] = {
    "input_values": _wave,
    "input_features": _spectrogram,
}
