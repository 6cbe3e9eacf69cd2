"""Sound: waves, spectrograms, codes, and texts that are said."""

import inspect
from typing import Any

import torch
from torch import nn

from zooalign_transformers import inputs
from zooalign_transformers.inputs import Make, normal

__all__ = [
    "channels",
    "chunks_of_sound",
    "clip_sound",
    "codebooks",
    "filmed_waves",
    "frames",
    "heard",
    "hidden",
    "latents",
    "many_bins",
    "mel",
    "ones",
    "raw",
    "spoken",
    "states",
    "told_in_waves",
    "twice_heard",
    "vocoder",
    "waves",
]


def ones(name: str, like: str) -> Make:
    """A mask of ones for another input."""

    def make(
        model: nn.Module, config: Any, batch: int, generator: torch.Generator
    ) -> dict[str, Any]:
        made = inputs.generic(model, config, batch, generator)
        if like not in made:
            return {}
        frames = made[like].shape[-1] if hasattr(config, "n_window") else made[like].shape[1]
        return {name: torch.ones((batch, frames), dtype=torch.long)}

    return make


def waves(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"input_values": normal(batch, 1, 3200, generator=generator)}


def hidden(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """What a decoder is given: states, channels first."""
    return {"hidden_states": normal(batch, config.hidden_size, 4, generator=generator)}


def raw(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Waves, under the name of states."""
    return {"hidden_states": normal(batch, 1, 3200, generator=generator)}


def frames(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A spectrogram, frames first, and the start of the text."""
    return {
        "input_features": normal(batch, 64, config.input_feat_per_channel, generator=generator),
        "decoder_input_ids": inputs.tokens(config, batch, generator),
    }


def told_in_waves(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, waves of one channel, and a video where one is taken."""
    made = {**inputs.text(config, batch, generator), **waves(model, config, batch, generator)}
    if "pixel_values_videos" in inspect.signature(type(model).forward).parameters:
        part = config.audio_video_config
        made |= filmed_waves(model, part, batch, generator)
    return made


def filmed_waves(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Waves of one channel, and a video."""
    video = inputs.video(config.video_config, batch, generator)
    return {**waves(model, config, batch, generator), "pixel_values_videos": video}


def mel(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    frames = 64
    bins = getattr(config, "input_feat_size", None) or 128
    return {
        "audio_mel": normal(batch, frames, bins, generator=generator),
        "audio_mel_mask": torch.zeros((batch, frames), dtype=torch.bool),
    }


def latents(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    width = getattr(config, "latent_dim", None) or config.hidden_size
    if config.model_type == "pocket_tts_audio_tokenizer_decoder":  # projected before it
        width = config.hidden_size
    return {"latents": normal(batch, width, 4, generator=generator)}


def channels(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and sound as codes of several channels."""
    decoder = config.decoder_config
    shape = (batch, 6, decoder.num_channels)
    codes = torch.randint(0, decoder.vocab_size - 4, shape, generator=generator)
    return {**inputs.text(config.encoder_config, batch, generator), "decoder_input_ids": codes}


def codebooks(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A token of text and one of every codebook at each step."""
    count = config.num_codebooks + 1
    size = min(config.vocab_size, config.codebook_vocab_size)
    ids = torch.randint(5, size, (batch, inputs.TOKENS, count), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones((batch, inputs.TOKENS)).long()}


def spoken(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text, and a spectrogram of what is said."""
    made = inputs.text(config, batch, generator)
    return {**made, "input_features": normal(batch, 80, 32, generator=generator)}


def clip_sound(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and spectrograms of one channel that are no longer than they may be."""
    part = getattr(config, "audio_config", config)
    features = normal(batch, 1, 64, part.num_mel_bins, generator=generator)
    made = {"input_features": features, "is_longer": torch.zeros((batch, 1), dtype=torch.bool)}
    both = "input_ids" in inspect.signature(type(model).forward).parameters
    return {**inputs.text(config, batch, generator), **made} if both else made


def states(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """States of both sides: the model itself has no embeddings."""
    width = config.hidden_size
    return {
        "input_values": normal(batch, 6, width, generator=generator),
        "decoder_input_values": normal(batch, 4, width, generator=generator),
    }


def vocoder(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A spectrogram, and the noise that the model would draw at random."""
    frames = 8
    return {
        "input_features": normal(batch, frames, config.num_mel_bins, generator=generator),
        "noise_sequence": normal(batch, frames, config.model_in_channels, generator=generator),
    }


def chunks_of_sound(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"input_values": normal(batch, 3840, generator=generator)}


def many_bins(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"input_features": normal(batch, 64, 128, generator=generator)}


def heard(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text with a sound in it, of which every fourth frame becomes a token."""
    from zooalign_transformers.in_place import with_places

    part = config.audio_config
    frames = 2 * part.max_source_positions
    token = config.audio_token_index
    return {
        **with_places(config, (), token, frames // 4, batch, generator),
        "input_features": normal(batch, part.num_mel_bins, frames, generator=generator),
        "feature_attention_mask": torch.ones((batch, frames), dtype=torch.long),
    }


def twice_heard(model: Any, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A sound as a wave and as a spectrogram."""
    bins = model.semantic_encoder.feature_projection.projection.in_features
    return {
        "input_values": normal(batch, 1, 3200, generator=generator),
        "input_features": normal(batch, 10, bins, generator=generator),
    }
