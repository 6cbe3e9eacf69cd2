"""Text, images and sound for a configuration, and the inputs that most models take."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "SEED",
    "TOKENS",
    "Make",
    "both_towers",
    "fitted",
    "generic",
    "image",
    "image_size",
    "normal",
    "sound",
    "text",
    "tokens",
    "video",
    "vision_config",
]

SEED = 0
TOKENS = 8
_LOWEST = 5  # below are often the special tokens: padding, begin, end, unknown, mask

Make = Callable[[nn.Module, Any, int, torch.Generator], dict[str, Any]]


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Normally distributed numbers."""
    return torch.randn(shape, generator=generator)


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
        generator = torch.Generator().manual_seed(SEED)
        shape = (batch, frames, linear.in_features)
        return {**made, "input_features": torch.randn(shape, generator=generator)}
    wanted = None if conv is None else conv.in_channels
    if wanted == features.shape[2] != features.shape[1] and linear is None:
        return {**made, "input_features": features.transpose(1, 2).contiguous()}
    return made


def generic(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """What most models take, by their main input: text, image, video, sound, a decoder's start."""
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
    if "input_ids" in takes and (not made or both_towers(config)):
        made |= text(config, batch, generator)
        if both_towers(config) and "pixel_values" in takes:
            made["pixel_values"] = image(config, batch, generator)
        elif both_towers(config):
            for name, make in _SOUND.items():
                if name in takes:
                    made[name] = make(config, batch, generator)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        made["decoder_input_ids"] = tokens(_text_config(config, decoder=True), batch, generator)
    return {name: value for name, value in made.items() if name in takes}


def both_towers(config: Any) -> bool:
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


# Videos under the name of images.
_VIDEO = {"timesformer", "vivit", "videomae", "xclip_vision_model", "videoprism", "vjepa2"}
_SOUND: dict[str, Callable[[Any, int, torch.Generator], Tensor]] = {
    "input_values": _wave,
    "input_features": _spectrogram,
}
