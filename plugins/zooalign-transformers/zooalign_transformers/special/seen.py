"""Images beside a text."""

from typing import Any

import torch
from torch import nn

from zooalign_transformers import inputs
from zooalign_transformers.inputs import normal
from zooalign_transformers.special import images, text

__all__ = [
    "actions",
    "asked_of_a_film",
    "boxes",
    "filmed_text",
    "latent_places",
    "page",
    "seen_text",
    "sights",
    "text_and_pixels",
    "text_with_patches",
    "told_by_a_text",
]


def boxes(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Boxes of words, left, top, right, bottom."""
    low = torch.randint(0, 30, (batch, inputs.TOKENS, 2), generator=generator)
    return {"bbox": torch.cat([low, low + 5], -1)}


def page(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Words with their places on a page, the page, and the start of the answer."""
    low = torch.rand((batch, inputs.TOKENS, 2), generator=generator) / 2
    return {
        **inputs.text(config, batch, generator),
        "bbox": torch.cat([low, low + 0.2], -1),
        "pixel_values": inputs.image(config, batch, generator),
        "decoder_input_ids": inputs.tokens(config, batch, generator),
    }


def sights(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text, and features and places of objects."""
    return {
        **inputs.text(config, batch, generator),
        "visual_feats": normal(batch, 4, config.visual_feat_dim, generator=generator),
        "visual_pos": normal(batch, 4, config.visual_pos_dim, generator=generator),
    }


def text_and_pixels(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {
        **inputs.text(config, batch, generator),
        "pixel_values": inputs.image(config, batch, generator),
    }


def seen_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text that attends to one picture."""
    made = inputs.text(config, batch, generator)
    pixels = inputs.image(config, batch, generator)
    mask = torch.ones((batch, inputs.TOKENS, 1), dtype=torch.long)
    return {**made, "pixel_values": pixels[:, None], "image_attention_mask": mask}


def text_with_patches(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Flat patches of a picture, of which two by two become a token of the text."""
    from zooalign_transformers.in_place import with_places

    token = config.image_token_id
    return {
        **images.naflex(model, config, batch, generator),
        **with_places(config, (), token, 4, batch, generator),
    }


def told_by_a_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and the text that says what to look for."""
    made = inputs.text(config.text_config, batch, generator)
    return {"pixel_values": inputs.image(config, batch, generator), **made}


def latent_places(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text with a picture in the places that a mask names."""
    made = text_and_pixels(model, config, batch, generator)
    places = torch.zeros_like(made["input_ids"])
    places[:, 1 : 1 + config.latent_query_num] = 1
    return {**made, "image_embeds_position_mask": places}


def filmed_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text and a video."""
    side = getattr(config, "max_img_size", None)
    if side is not None:  # TVP lays out the positions of one picture as those of the batch
        batch = 1
    video = inputs.video(config, batch, generator)
    if side is not None:
        video = normal(batch, config.num_frames, 3, side, side, generator=generator)
    return {**inputs.text(config, batch, generator), "pixel_values": video}


def asked_of_a_film(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text with a video in it, and a question about it."""
    from zooalign_transformers.in_place import with_places

    film = inputs.video(config, batch, generator)
    takes, count = (), film.shape[1] * config.num_query_tokens
    token = config.video_token_index
    return {
        "pixel_values": film,
        **text.question(model, config, batch, generator),
        **with_places(config, takes, token, count, batch, generator),
    }


def actions(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    from zooalign_transformers.in_place import image_in_text

    width = config.dit_config.hidden_size
    made = image_in_text(model, config.vlm_config, batch, generator)
    made = made or dict(inputs.text(config.vlm_config, batch, generator))
    if "pixel_values" in made:  # one camera
        made["pixel_values"] = made["pixel_values"][:, None]
        made["pixel_attention_mask"] = torch.ones((batch, 1), dtype=torch.bool)
    return {**made, "action_embeds": normal(batch, 4, width, generator=generator)}
