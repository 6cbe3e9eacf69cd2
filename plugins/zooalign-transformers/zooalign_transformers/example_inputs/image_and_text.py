"""Images beside a text."""

from dataclasses import replace

import torch

from zooalign_transformers.example_inputs import basic, image, text
from zooalign_transformers.example_inputs.basic import InputRequest, Inputs
from zooalign_transformers.example_inputs.placeholders import image_in_text, with_placeholders

__all__ = [
    "document_page",
    "image_and_prompt",
    "robot_actions",
    "text_and_image",
    "text_and_object_features",
    "text_and_video",
    "text_with_cross_attended_image",
    "text_with_image_patches",
    "text_with_image_positions",
    "text_with_video_and_question",
    "word_boxes",
]


def word_boxes(request: InputRequest) -> Inputs:
    """Boxes of words, left, top, right, bottom."""
    low = torch.randint(0, 30, (request.batch, basic.TOKENS, 2), generator=request.generator)
    return {"bbox": torch.cat([low, low + 5], -1)}


def document_page(request: InputRequest) -> Inputs:
    """Words with their places on a page, the page, and the start of the answer."""
    low = torch.rand((request.batch, basic.TOKENS, 2), generator=request.generator) / 2
    return {
        **basic.text(request),
        "bbox": torch.cat([low, low + 0.2], -1),
        "pixel_values": basic.image(request),
        "decoder_input_ids": basic.tokens(request),
    }


def text_and_object_features(request: InputRequest) -> Inputs:
    """Text, and features and places of objects."""
    return {
        **basic.text(request),
        "visual_feats": request.normal(request.batch, 4, request.config.visual_feat_dim),
        "visual_pos": request.normal(request.batch, 4, request.config.visual_pos_dim),
    }


def text_and_image(request: InputRequest) -> Inputs:
    """Text, and an image that belongs to it."""
    return {
        **basic.text(request),
        "pixel_values": basic.image(request),
    }


def text_with_cross_attended_image(request: InputRequest) -> Inputs:
    """Text that attends to one picture."""
    tensors = basic.text(request)
    pixels = basic.image(request)
    mask = torch.ones((request.batch, basic.TOKENS, 1), dtype=torch.long)
    return {**tensors, "pixel_values": pixels[:, None], "image_attention_mask": mask}


def text_with_image_patches(request: InputRequest) -> Inputs:
    """Flat patches of a picture, of which two by two become a token of the text."""
    token = request.config.image_token_id
    return {
        **image.masked_patches(request),
        **with_placeholders(request, token, 4),
    }


def image_and_prompt(request: InputRequest) -> Inputs:
    """A picture, and the text that says what to look for."""
    tensors = basic.text(request.of(request.config.text_config))
    return {"pixel_values": basic.image(request), **tensors}


def text_with_image_positions(request: InputRequest) -> Inputs:
    """Text with a picture in the places that a mask names."""
    tensors = text_and_image(request)
    places = torch.zeros_like(tensors["input_ids"])
    places[:, 1 : 1 + request.config.latent_query_num] = 1
    return {**tensors, "image_embeds_position_mask": places}


def text_and_video(request: InputRequest) -> Inputs:
    """Text and a video."""
    side = getattr(request.config, "max_img_size", None)
    if side is not None:  # TVP lays out the positions of one picture as those of the batch
        request = replace(request, batch=1)
    video = basic.video(request)
    if side is not None:
        video = request.normal(1, request.config.num_frames, 3, side, side)
    return {**basic.text(request), "pixel_values": video}


def text_with_video_and_question(request: InputRequest) -> Inputs:
    """Text with a video in it, and a question about it."""
    video = basic.video(request)
    count = video.shape[1] * request.config.num_query_tokens
    token = request.config.video_token_index
    return {
        "pixel_values": video,
        **text.text_and_question(request),
        **with_placeholders(request, token, count),
    }


def robot_actions(request: InputRequest) -> Inputs:
    """Text with an image of one camera in it, and embeddings of actions."""
    width = request.config.dit_config.hidden_size
    vision_language = request.of(request.config.vlm_config)
    tensors = image_in_text(vision_language) or basic.text(vision_language)
    if "pixel_values" in tensors:  # one camera
        tensors["pixel_values"] = tensors["pixel_values"][:, None]
        tensors["pixel_attention_mask"] = torch.ones((request.batch, 1), dtype=torch.bool)
    return {**tensors, "action_embeds": request.normal(request.batch, 4, width)}
