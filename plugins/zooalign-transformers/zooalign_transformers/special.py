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
    times = getattr(part, "temporal_patch_size", None) or getattr(part, "patch_temporal", None) or 1
    times = times if isinstance(times, int) else times[0]
    takes = tuple(inspect.signature(type(model).forward).parameters)
    name = "pixel_values" if "pixel_values" in takes else "hidden_states"
    flat = channels * times * patch * patch
    pixels = _normal(batch * rows * rows, flat, generator=generator)
    if config.model_type == "kimi_k25_vision":  # patches that are images themselves
        pixels = pixels.unflatten(-1, (channels, patch, patch))
    if config.model_type == "inkling2_vision":  # colours alone
        pixels = pixels.reshape(-1, channels)
    return {name: pixels, "grid_thw": grid, "image_grid_thw": grid}


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
        if like not in made:
            return {}
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


def _sizes(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Patches of images in one row each, and the height and width of each in patches."""
    part = inputs.vision_config(config)
    patch = part.patch_size
    sizes = torch.tensor([[4, 4]] * batch)
    pixels = _normal(1, part.num_channels, patch, batch * 16 * patch, generator=generator)
    return {"pixel_values": pixels, "target_sizes": sizes}


def _naflex(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Flat patches with a mask, and the height and width of each image in patches."""
    part = inputs.vision_config(config)
    flat = part.num_channels * part.patch_size**2
    made = {
        "pixel_values": _normal(batch, 16, flat, generator=generator),
        "pixel_attention_mask": torch.ones((batch, 16), dtype=torch.long),
        "spatial_shapes": torch.tensor([[4, 4]] * batch),
    }
    both = "input_ids" in inspect.signature(type(model).forward).parameters
    return {**inputs.text(config, batch, generator), **made} if both else made


def _placed_patches(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Flat patches, and the column and row of each."""
    side = 2 * getattr(config, "pooling_kernel_size", 2)
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)
    places = places.reshape(1, -1, 2).expand(batch, -1, 2).contiguous()
    flat = 3 * config.patch_size**2
    pixels = torch.rand((batch, side * side, flat), generator=generator)
    return {"pixel_values": pixels, "pixel_position_ids": places}


def _mel(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    frames = 64
    bins = getattr(config, "input_feat_size", None) or 128
    return {
        "audio_mel": _normal(batch, frames, bins, generator=generator),
        "audio_mel_mask": torch.zeros((batch, frames), dtype=torch.bool),
    }


def _latents(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    width = getattr(config, "latent_dim", None) or config.hidden_size
    return {"latents": _normal(batch, width, 4, generator=generator)}


def _noise(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Embeddings to refine, and the states they are refined by."""
    width = config.hidden_size
    layers = len(getattr(config, "target_layer_ids", None) or ()) or 1
    return {
        "noise_embeds": _normal(batch, 4, width, generator=generator),
        "context_hidden_states": _normal(batch, 6, layers * width, generator=generator),
    }


def _prompted(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and another with the mask that shows what is asked for."""
    height, width = inputs.image_size(config)
    one = (batch, 3, height // 2, width)
    return {
        "pixel_values": _normal(*one, generator=generator),
        "prompt_pixel_values": _normal(*one, generator=generator),
        "prompt_masks": _normal(*one, generator=generator),
    }


def _queried(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, three classes for each, and a task, as text."""
    part = config.text_config
    classes = inputs.tokens(part, 3 * batch, generator)
    tasks = inputs.tokens(part, batch, generator)
    return {
        "pixel_values": inputs.image(config, batch, generator),
        "classes_input_ids": classes,
        "classes_attention_mask": torch.ones_like(classes),
        "tasks_input_ids": tasks,
        "tasks_attention_mask": torch.ones_like(tasks),
        "classes_structure": torch.tensor([3] * batch),
    }


def _task(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    ids = torch.randint(5, 90, (batch, config.task_seq_len), generator=generator)
    return {"pixel_values": inputs.image(config, batch, generator), "task_inputs": ids}


def _actions(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    from zooalign_transformers.in_place import image_in_text

    width = config.dit_config.hidden_size
    made = image_in_text(model, config.vlm_config, batch, generator)
    made = made or dict(inputs.text(config.vlm_config, batch, generator))
    if "pixel_values" in made:  # one camera
        made["pixel_values"] = made["pixel_values"][:, None]
        made["pixel_attention_mask"] = torch.ones((batch, 1), dtype=torch.bool)
    return {**made, "action_embeds": _normal(batch, 4, width, generator=generator)}


def _channels(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and sound as codes of several channels."""
    decoder = config.decoder_config
    shape = (batch, 6, decoder.num_channels)
    codes = torch.randint(0, decoder.vocab_size - 4, shape, generator=generator)
    return {**inputs.text(config.encoder_config, batch, generator), "decoder_input_ids": codes}


def _codebooks(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A token of text and one of every codebook at each step."""
    count = config.num_codebooks + 1
    size = min(config.vocab_size, config.codebook_vocab_size)
    ids = torch.randint(5, size, (batch, inputs.TOKENS, count), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones((batch, inputs.TOKENS)).long()}


def _globally(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text in which the first token attends to all, so that its projections are reached."""
    made = inputs.text(config, batch, generator)
    everywhere = torch.zeros_like(made["input_ids"])
    everywhere[:, 0] = 1
    if getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = inputs.tokens(config, batch, generator)
    return {**made, "global_attention_mask": everywhere}


def _spoken(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and a spectrogram of what is said."""
    made = inputs.text(config, batch, generator)
    return {**made, "input_features": _normal(batch, 80, 32, generator=generator)}


def _clip_sound(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and spectrograms of one channel that are no longer than they may be."""
    part = getattr(config, "audio_config", config)
    features = _normal(batch, 1, 64, part.num_mel_bins, generator=generator)
    made = {"input_features": features, "is_longer": torch.zeros((batch, 1), dtype=torch.bool)}
    both = "input_ids" in inspect.signature(type(model).forward).parameters
    return {**inputs.text(config, batch, generator), **made} if both else made


def _seen_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text that attends to one picture."""
    made = inputs.text(config, batch, generator)
    pixels = inputs.image(config, batch, generator)
    mask = torch.ones((batch, inputs.TOKENS, 1), dtype=torch.long)
    return {**made, "pixel_values": pixels[:, None], "image_attention_mask": mask}


def _states(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """States of both sides: the model itself has no embeddings."""
    width = config.hidden_size
    return {
        "input_values": _normal(batch, 6, width, generator=generator),
        "decoder_input_values": _normal(batch, 4, width, generator=generator),
    }


def _told_by_a_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and the text that says what to look for."""
    made = inputs.text(config.text_config, batch, generator)
    return {"pixel_values": inputs.image(config, batch, generator), **made}


def _past(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A series, which of it is padding, and how often it was measured."""
    length = config.context_length
    return {
        "past_values": _normal(batch, length, generator=generator),
        "past_values_padding": torch.zeros((batch, length), dtype=torch.long),
        "freq": torch.zeros((batch, 1), dtype=torch.long),
    }


def _vocoder(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A spectrogram, and the noise that the model would draw at random."""
    frames = 8
    return {
        "input_features": _normal(batch, frames, config.num_mel_bins, generator=generator),
        "noise_sequence": _normal(batch, frames, config.model_in_channels, generator=generator),
    }


def _latent_places(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text with a picture in the places that a mask names."""
    made = _text_and_pixels(model, config, batch, generator)
    places = torch.zeros_like(made["input_ids"])
    places[:, 1 : 1 + config.latent_query_num] = 1
    return {**made, "image_embeds_position_mask": places}


def _filmed_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text and a video."""
    side = getattr(config, "max_img_size", None)
    video = inputs.video(config, batch, generator)
    if side is not None:
        video = _normal(batch, 2, 3, side, side, generator=generator)
    return {**inputs.text(config, batch, generator), "pixel_values": video}


def _masking_noise(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and the noise that decides which patches are hidden."""
    patches = (config.image_size // config.patch_size) ** 2
    noise = torch.rand((batch, patches), generator=generator)
    return {"pixel_values": inputs.image(config, batch, generator), "noise": noise}


def _chunks_of_sound(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"input_values": _normal(batch, 3840, generator=generator)}


def _series_alone(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"past_values": _normal(batch, config.context_length, generator=generator)}


def _page(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Words with their places on a page, the page, and the start of the answer."""
    low = torch.rand((batch, inputs.TOKENS, 2), generator=generator) / 2
    return {
        **inputs.text(config, batch, generator),
        "bbox": torch.cat([low, low + 0.2], -1),
        "pixel_values": inputs.image(config, batch, generator),
        "decoder_input_ids": inputs.tokens(config, batch, generator),
    }


def _large(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A picture whose smallest copy is still a whole patch."""
    side = round(config.patch_size / min(config.scaled_images_ratios))
    return {"pixel_values": _normal(batch, 3, side, side, generator=generator)}


def _line_of_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"pixel_values": _normal(batch, 3, 48, 160, generator=generator)}


def _many_bins(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"input_features": _normal(batch, 64, 128, generator=generator)}


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
    "image_grid_thw": _grid,
    "latents": _latents,
    "audio_mel": _mel,
    "noise_embeds": _noise,
    "prompt_pixel_values": _prompted,
    "pixel_position_ids": _placed_patches,
    "spatial_shapes": _naflex,
    "target_sizes": _sizes,
    "hidden_states": _grid,
    "classes_input_ids": _queried,
    "task_inputs": _task,
}
# Wanted though they have a default.
NEEDED = {"input_features_mask", "bbox", "target_sizes", "spatial_shapes"}


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


def _told(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text of a part that is called ``model_config``."""
    return dict(inputs.text(config.model_config, batch, generator))


def _protein(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and a protein that it is about."""
    protein = inputs.text(config.protein_encoder_config, batch, generator)
    made = {f"protein_{name}": value for name, value in protein.items()}
    return {**inputs.text(config, batch, generator), **made}


def _heard(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text with a sound in it, of which every fourth frame becomes a token."""
    from zooalign_transformers.in_place import with_places

    part = config.audio_config
    frames = 2 * part.max_source_positions
    token = config.audio_token_index
    return {
        **with_places(config, (), token, frames // 4, batch, generator),
        "input_features": _normal(batch, part.num_mel_bins, frames, generator=generator),
        "feature_attention_mask": torch.ones((batch, frames), dtype=torch.long),
    }


def _in_patches(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Bytes, and how they are grouped, which the model would decide by a network of its own."""
    lengths = torch.tensor([[1, 3, 3, inputs.TOKENS - 6]] * batch)
    return {**inputs.text(config, batch, generator), "patch_lengths": lengths}


SPECIAL: dict[str, Make] = {
    "blt": _in_patches,
    "dots3_note": _text_alone,
    "qwen2_audio": _heard,
    "evolla": _protein,
    "fastspeech2_conformer_with_hifigan": _told,
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
    "clvp": _spoken,
    "clap": _clip_sound,
    "clap_audio_model": _clip_sound,
    "depth_pro": _large,
    "dia": _channels,
    "gemma4_audio": _many_bins,
    "pp_ocrv5_mobile_rec": _line_of_text,
    "pp_ocrv5_server_rec": _line_of_text,
    "kosmos-2": _latent_places,
    "idefics": _seen_text,
    "kyutai_speech_to_text": _codebooks,
    "led": _globally,
    "longformer": _globally,
    "omdet-turbo": _queried,
    "oneformer": _task,
    "pi0": _actions,
    "sam3": _told_by_a_text,
    "sam3_lite_text": _told_by_a_text,
    "seggpt": _prompted,
    "speecht5": _states,
    "timesfm": _past,
    "univnet": _vocoder,
    "xclip": _filmed_text,
    "tvp": _filmed_text,
    "vit_mae": _masking_noise,
    "muse_spark_audio": _chunks_of_sound,
    "timesfm2_5": _series_alone,
    "udop": _page,
    "xcodec": _sound,
    "fsmt": _text_without_mask,
    "lxmert": _sights,
    "decision_transformer": _decisions,
    "perceiver": _arrays,
}
