"""Sound: waves, spectrograms, codes, and texts that are said."""

from typing import Any

import torch

from zooalign_transformers.example_inputs import basic
from zooalign_transformers.example_inputs.basic import InputRequest, Inputs, MakeInputs
from zooalign_transformers.example_inputs.placeholders import with_placeholders

__all__ = [
    "clap_spectrogram",
    "decoder_hidden_states",
    "encoder_and_decoder_states",
    "latents",
    "mask_of_ones",
    "mel_spectrogram",
    "spectrogram_and_decoder_tokens",
    "spectrogram_and_noise",
    "spectrogram_of_128_bins",
    "text_and_audio_codes",
    "text_and_codebook_tokens",
    "text_and_spectrogram",
    "text_and_wave",
    "text_with_audio",
    "wave",
    "wave_and_spectrogram",
    "wave_and_video",
    "wave_as_hidden_states",
    "wave_of_whole_chunks",
]


def mask_of_ones(name: str, like: str) -> MakeInputs:
    """A mask of ones for another input."""

    def make(request: InputRequest) -> Inputs:
        tensors = basic.generic(request)
        if like not in tensors:
            return {}
        frames = (
            tensors[like].shape[-1]
            if hasattr(request.config, "n_window")
            else tensors[like].shape[1]
        )
        return {name: torch.ones((request.batch, frames), dtype=torch.long)}

    return make


def wave(request: InputRequest) -> Inputs:
    """Waves of one channel."""
    return {"input_values": request.normal(request.batch, 1, 3200)}


def decoder_hidden_states(request: InputRequest) -> Inputs:
    """What a decoder is given: states, channels first."""
    return {"hidden_states": request.normal(request.batch, request.config.hidden_size, 4)}


def wave_as_hidden_states(request: InputRequest) -> Inputs:
    """Waves, under the name of states."""
    return {"hidden_states": request.normal(request.batch, 1, 3200)}


def spectrogram_and_decoder_tokens(request: InputRequest) -> Inputs:
    """A spectrogram, frames first, and the start of the text."""
    return {
        "input_features": request.normal(request.batch, 64, request.config.input_feat_per_channel),
        "decoder_input_ids": basic.tokens(request),
    }


def text_and_wave(request: InputRequest) -> Inputs:
    """Text, waves of one channel, and a video where one is taken."""
    tensors = {**basic.text(request), **wave(request)}
    if request.takes("pixel_values_videos"):
        part = request.config.audio_video_config
        tensors |= wave_and_video(request.of(part))
    return tensors


def wave_and_video(request: InputRequest) -> Inputs:
    """Waves of one channel, and a video."""
    video = basic.video(request.of(request.config.video_config))
    return {**wave(request), "pixel_values_videos": video}


def mel_spectrogram(request: InputRequest) -> Inputs:
    """A log-mel spectrogram, frames first, and a mask that hides none of it."""
    frames = 64
    bins = getattr(request.config, "input_feat_size", None) or 128
    return {
        "audio_mel": request.normal(request.batch, frames, bins),
        "audio_mel_mask": torch.zeros((request.batch, frames), dtype=torch.bool),
    }


def latents(request: InputRequest) -> Inputs:
    """What the decoder of an audio codec is given, channels first."""
    width = getattr(request.config, "latent_dim", None) or request.config.hidden_size
    if request.config.model_type == "pocket_tts_audio_tokenizer_decoder":  # projected before it
        width = request.config.hidden_size
    return {"latents": request.normal(request.batch, width, 4)}


def text_and_audio_codes(request: InputRequest) -> Inputs:
    """Text, and sound as codes of several channels."""
    decoder = request.config.decoder_config
    shape = (request.batch, 6, decoder.num_channels)
    codes = torch.randint(0, decoder.vocab_size - 4, shape, generator=request.generator)
    return {**basic.text(request.of(request.config.encoder_config)), "decoder_input_ids": codes}


def text_and_codebook_tokens(request: InputRequest) -> Inputs:
    """A token of text and one of every codebook at each step."""
    count = request.config.num_codebooks + 1
    size = min(request.config.vocab_size, request.config.codebook_vocab_size)
    ids = torch.randint(5, size, (request.batch, basic.TOKENS, count), generator=request.generator)
    return {"input_ids": ids, "attention_mask": torch.ones((request.batch, basic.TOKENS)).long()}


def text_and_spectrogram(request: InputRequest) -> Inputs:
    """Text, and a spectrogram of what is said."""
    tensors = basic.text(request)
    return {**tensors, "input_features": request.normal(request.batch, 80, 32)}


def clap_spectrogram(request: InputRequest) -> Inputs:
    """Text, and spectrograms of one channel that are no longer than they may be."""
    part = getattr(request.config, "audio_config", request.config)
    features = request.normal(request.batch, 1, 64, part.num_mel_bins)
    tensors = {
        "input_features": features,
        "is_longer": torch.zeros((request.batch, 1), dtype=torch.bool),
    }
    both = request.takes("input_ids")
    return {**basic.text(request), **tensors} if both else tensors


def encoder_and_decoder_states(request: InputRequest) -> Inputs:
    """States of both sides: the model itself has no embeddings."""
    width = request.config.hidden_size
    return {
        "input_values": request.normal(request.batch, 6, width),
        "decoder_input_values": request.normal(request.batch, 4, width),
    }


def spectrogram_and_noise(request: InputRequest) -> Inputs:
    """A spectrogram, and the noise that the model would draw at random."""
    frames = 8
    return {
        "input_features": request.normal(request.batch, frames, request.config.num_mel_bins),
        "noise_sequence": request.normal(request.batch, frames, request.config.model_in_channels),
    }


def wave_of_whole_chunks(request: InputRequest) -> Inputs:
    """Waves as long as the chunks that the encoder cuts them into."""
    return {"input_values": request.normal(request.batch, 3840)}


def spectrogram_of_128_bins(request: InputRequest) -> Inputs:
    """A spectrogram of 64 frames."""
    return {"input_features": request.normal(request.batch, 64, 128)}


def text_with_audio(request: InputRequest) -> Inputs:
    """Text with a sound in it, of which every fourth frame becomes a token."""
    part = request.config.audio_config
    frames = 2 * part.max_source_positions
    token = request.config.audio_token_index
    return {
        **with_placeholders(request, token, frames // 4),
        "input_features": request.normal(request.batch, part.num_mel_bins, frames),
        "feature_attention_mask": torch.ones((request.batch, frames), dtype=torch.long),
    }


def wave_and_spectrogram(request: InputRequest) -> Inputs:
    """A sound as a wave and as a spectrogram."""
    model: Any = request.model
    bins = model.semantic_encoder.feature_projection.projection.in_features
    return {
        "input_values": request.normal(request.batch, 1, 3200),
        "input_features": request.normal(request.batch, 10, bins),
    }
