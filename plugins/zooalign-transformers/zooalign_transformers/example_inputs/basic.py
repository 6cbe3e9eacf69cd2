"""Text, images and sound for a configuration, and the inputs that most models take."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = [
    "SEED",
    "TOKENS",
    "InputRequest",
    "Inputs",
    "MakeInputs",
    "audio",
    "fit_to_first_layer",
    "generic",
    "image",
    "image_size",
    "is_contrastive",
    "patches",
    "text",
    "tokens",
    "video",
    "vision_config",
]

SEED = 0
TOKENS = 8
_LOWEST = 5  # below are often the special tokens: padding, begin, end, unknown, mask
# Model types whose videos are called images.
_VIDEO = {"timesformer", "vivit", "videomae", "xclip_vision_model", "videoprism", "vjepa2"}

Inputs = dict[str, Any]


@dataclass(frozen=True)
class InputRequest:
    """For what inputs are made: a model (parameters on meta), its configuration, a batch size.

    ``config`` may be a part of the model's configuration. What is random comes from ``generator``,
    so the order of calls decides the values.
    """

    model: nn.Module
    config: Any
    batch: int
    generator: torch.Generator

    @cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the model's ``forward``."""
        return inspect.signature(type(self.model).forward).parameters

    def takes(self, name: str) -> bool:
        """Whether ``forward`` has this argument."""
        return name in self.arguments

    def of(self, config: Any) -> Self:
        """The same for a part of the configuration."""
        return replace(self, config=config)

    def normal(self, *shape: int) -> Tensor:
        """Normally distributed numbers."""
        return torch.randn(shape, generator=self.generator)


MakeInputs = Callable[[InputRequest], Inputs]


def fit_to_first_layer(model: nn.Module, inputs: Inputs) -> Inputs:
    """Spectrograms in the layout of the layer that reads them first."""
    features = inputs.get("input_features")
    # Speech2Text transposes its spectrograms itself.
    transposes = getattr(model.config, "model_type", "") == "speech_to_text"
    if not isinstance(features, Tensor) or features.ndim != 3 or transposes:
        return inputs
    named = dict(model.named_modules())
    linear = next((m for n, m in named.items() if n.endswith("input_linear")), None)
    conv = next((m for m in named.values() if isinstance(m, nn.Conv1d)), None)
    if isinstance(linear, nn.Linear) and features.shape[-1] != linear.in_features:
        batch, frames, _ = features.shape
        generator = torch.Generator().manual_seed(SEED)
        shape = (batch, frames, linear.in_features)
        return {**inputs, "input_features": torch.randn(shape, generator=generator)}
    wanted = None if conv is None else conv.in_channels
    if wanted == features.shape[2] != features.shape[1] and linear is None:
        return {**inputs, "input_features": features.transpose(1, 2).contiguous()}
    return inputs


def generic(request: InputRequest) -> Inputs:
    """What most models take, by their main input: text, an image, a video, sound.

    An encoder-decoder is also given the start of its answer.
    """
    config, takes = request.config, request.takes
    main = getattr(request.model, "main_input_name", "input_ids")
    contrastive = is_contrastive(config)
    inputs: Inputs = {}
    if takes(main) and main in _AUDIO:
        inputs[main] = audio(main, request)
    elif main == "pixel_values" and config.model_type in _VIDEO:
        inputs[main] = video(request)
    elif takes("pixel_values") and (main.startswith("pixel_values") or not takes("input_ids")):
        inputs["pixel_values"] = image(request)
    elif takes("pixel_values_videos") and main == "pixel_values_videos":
        inputs["pixel_values_videos"] = video(request)
    elif not takes("input_ids"):
        inputs |= {name: audio(name, request) for name in list(filter(takes, _AUDIO))[:1]}
    if takes("input_ids") and (not inputs or contrastive):
        inputs |= text(request)
        if contrastive and takes("pixel_values"):
            inputs["pixel_values"] = image(request)
        elif contrastive:
            inputs |= {name: audio(name, request) for name in filter(takes, _AUDIO)}
    if getattr(config, "is_encoder_decoder", False) and takes("decoder_input_ids"):
        inputs["decoder_input_ids"] = tokens(request.of(_text_config(config, decoder=True)))
    return {name: value for name, value in inputs.items() if takes(name)}


def is_contrastive(config: Any) -> bool:
    """Whether the model is two encoders whose embeddings are compared."""
    towers = {"text_config", "vision_config", "audio_config"} & set(vars(config))
    generates = any(
        "token_i" in name and ("image" in name or "audio" in name) for name in vars(config)
    )
    return len(towers) > 1 and not generates


def _text_config(config: Any, decoder: bool = False) -> Any:
    try:
        return config.get_text_config(decoder=decoder)
    except Exception:  # several text parts
        return config


def text(request: InputRequest) -> Inputs:
    """``input_ids`` and an ``attention_mask`` of ones."""
    ids = tokens(request.of(_text_config(request.config)))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def tokens(request: InputRequest, count: int = TOKENS) -> Tensor:
    """Random tokens, the last one the end of text, where the config names one.

    ``count`` is the number of tokens in a row.
    """
    size = getattr(request.config, "vocab_size", None) or 99
    size = min(size) if isinstance(size, (list, tuple)) else size
    lowest = min(_LOWEST, size - 1)
    ids = torch.randint(lowest, size, (request.batch, count), generator=request.generator)
    end = getattr(request.config, "eos_token_id", None)
    if isinstance(end, int) and 0 <= end < size:
        others = [n for n in (lowest, lowest + 1, lowest - 1) if n != end and 0 <= n < size]
        ids[ids == end] = others[0] if others else end
        ids[:, -1] = end
    return ids


def image(request: InputRequest) -> Tensor:
    """Normalised pixels (batch, channels, height, width) at the config's size."""
    part = vision_config(request.config)
    channels = _first_int(part, "num_channels", "in_channels", "in_chans", "num_image_channels")
    return request.normal(request.batch, channels or 3, *image_size(part))


def video(request: InputRequest) -> Tensor:
    """Pixels (batch, frames, channels, height, width)."""
    part = vision_config(request.config)
    frames = _first_int(part, "num_frames", "frames_per_clip") or 4
    channels = _first_int(part, "num_channels", "in_channels", "in_chans") or 3
    return request.normal(request.batch, frames, channels, *image_size(part))


def vision_config(config: Any) -> Any:
    """The part of a config that says what images are."""
    return _part(config, "vision_config", "backbone_config", "vision_encoder_config", "encoder")


def _part(config: Any, *names: str) -> Any:
    """The first of these parts of a config that is there, else the config itself."""
    parts = [getattr(config, name, None) for name in names]
    return next((p for p in parts if p is not None and not isinstance(p, dict)), config)


def image_size(config: Any) -> tuple[int, int]:
    """Height and width."""
    for name in ("image_size", "img_size", "input_size", "crop_size"):
        size = getattr(config, name, None)
        if isinstance(size, int) and size > 3:
            return size, size
        if isinstance(size, (list, tuple)) and len(size) >= 2:
            return int(size[-2]), int(size[-1])
        if isinstance(size, dict) and "height" in size:
            return int(size["height"]), int(size["width"])
    inner = getattr(config, "backbone_config", None)
    return (64, 64) if inner is None or isinstance(inner, dict) else image_size(inner)


def patches(request: InputRequest) -> tuple[Tensor, Tensor]:
    """Flat patches of images one after another, and the grid (time, rows, columns) of each."""
    part = vision_config(request.config)
    merge = getattr(part, "spatial_merge_size", None) or getattr(part, "merge_size", None) or 2
    rows = 2 * (merge if isinstance(merge, int) else 2)
    patch = _first(getattr(part, "patch_size", 14))
    channels = getattr(part, "in_channels", None) or getattr(part, "num_channels", None) or 3
    times = getattr(part, "temporal_patch_size", None) or getattr(part, "patch_temporal", None)
    flat = channels * _first(times or 1) * patch * patch
    pixels = request.normal(request.batch * rows * rows, flat)
    return pixels, torch.tensor([[1, rows, rows]] * request.batch)


def _first(value: Any) -> int:
    return int(value if isinstance(value, int) else value[0])


def _first_int(config: Any, *names: str) -> int | None:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


def audio(name: str, request: InputRequest) -> Tensor:
    """What a model takes as ``input_values`` (waves) or ``input_features`` (spectrograms)."""
    parts = ("audio_config", "encoder_config", "audio_encoder_config", "asr_config")
    return _AUDIO[name](request.of(_part(request.config, *parts)))


def _wave(request: InputRequest) -> Tensor:
    """Sound waves (batch, samples), or spectrograms where the config counts mel bins."""
    config = request.config
    bins = _first_int(config, "num_mel_bins", "audio_features")
    if bins and hasattr(config, "max_length") and not hasattr(config, "conv_kernel"):
        return request.normal(request.batch, config.max_length, bins)
    channels = _first_int(config, "audio_channels")
    return request.normal(request.batch, *((channels,) if channels else ()), 3200)


def _spectrogram(request: InputRequest) -> Tensor:
    """Log-mel features: (batch, bins, frames) for Whisper's kind, else (batch, frames, bins)."""
    config = request.config
    bins = (
        _first_int(config, "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
        or _first_int(config, "input_dim", "mel_bins", "n_mels", "feature_size")
        or 80
    ) * (_first_int(config, "num_stacked_frames") or 1)
    if hasattr(config, "n_window"):  # whole windows of frames
        return request.normal(request.batch, bins, 2 * config.n_window)
    frames = _first_int(config, "max_source_positions")
    frames_first = ("num_conv_layers", "feature_projection_input_dim")
    if frames and not any(hasattr(config, name) for name in frames_first):
        return request.normal(request.batch, bins, 2 * frames)
    return request.normal(request.batch, 64, bins)


_AUDIO: dict[str, Callable[[InputRequest], Tensor]] = {
    "input_values": _wave,
    "input_features": _spectrogram,
}
