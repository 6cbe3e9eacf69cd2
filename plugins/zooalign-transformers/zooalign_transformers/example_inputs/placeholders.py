"""Images and sound in a language model's text: placeholder tokens, as many as the model needs.

Without them the encoder of images or sound would not be reached, and its last layer, which writes
into the text's residual stream, would not be found to be permuted with it.
"""

import copy
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from zooalign_transformers.example_inputs import basic
from zooalign_transformers.example_inputs.basic import InputRequest, Inputs
from zooalign_transformers.quiet import quiet

__all__ = ["audio_in_text", "image_in_text", "with_placeholders"]

_IMAGE_TOKENS = (
    "image_token_id",
    "image_token_index",
    "image_patch_id",
    "media_placeholder_token_id",
)
_AUDIO_TOKENS = ("audio_token_id", "audio_token_index")
_AUDIO_MASKS = (
    "input_features_mask",
    "feature_attention_mask",
    "padding_mask",
    "input_values_mask",
)
_MOST = 400  # tokens of one image or sound
# Parameters of a model that is run to count the tokens that it makes of a sound.
_MOST_PARAMETERS = 60_000_000
# Two rows of two; HunyuanVL and HY end each row with a token, and HunyuanVL adds two around.
_TOKENS_OF_A_GRID = {"hunyuan_vl": 8, "hy_v4_vl": 6}


def image_in_text(request: InputRequest) -> Inputs | None:
    """``input_ids`` with an image in each row, and its pixels; None where this is another model."""
    token = _placeholder(request.config, _IMAGE_TOKENS)
    if token is None or not (request.takes("input_ids") and request.takes("pixel_values")):
        return None
    variants: list[tuple[Inputs, int | None]]
    if request.takes("image_grid_thw"):
        pixels, grid = basic.patches(request)
        count = _TOKENS_OF_A_GRID.get(request.config.model_type, 4)
        images = {"pixel_values": pixels, "image_grid_thw": grid}
        variants = [(images, request.batch * count)]
    else:
        variants = [(images, _image_tokens(request, images)) for images in _images(request)]
    for images, total in variants:
        if _fits(total, request.batch):
            return {**with_placeholders(request, token, total // request.batch), **images}
    return None


def audio_in_text(request: InputRequest) -> Inputs | None:
    """``input_ids`` with a sound in each row, and the sound; None where this is another model.

    The model is run once on random values to count the tokens it makes of the sound, if it is
    small.
    """
    token = _placeholder(request.config, _AUDIO_TOKENS)
    name = next(filter(request.takes, ("input_features", "input_values")), None)
    model: Any = request.model
    if token is None or name is None or not request.takes("input_ids"):
        return None
    if sum(p.numel() for p in model.parameters()) > _MOST_PARAMETERS:
        return None
    owner = next((m for m in model.modules() if hasattr(m, "get_audio_features")), None)
    if owner is None:
        return None
    owner = _with_random_values(owner)
    width = int(model.get_input_embeddings().weight.shape[-1])
    for sound in _sounds(request, name):
        total = _audio_tokens(owner, sound, width)
        if _fits(total, request.batch):
            rows = with_placeholders(request, token, total // request.batch, kind=3)
            return {**rows, **{k: v for k, v in sound.items() if request.takes(k)}}
    return None


def _placeholder(config: Any, names: tuple[str, ...]) -> int | None:
    tokens = (getattr(config, name, None) for name in names)
    return next((token for token in tokens if isinstance(token, int) and token >= 0), None)


def _fits(total: int | None, batch: int) -> TypeGuard[int]:
    """Whether so many tokens can be shared out among the rows of a batch."""
    return total is not None and total % batch == 0 and 0 < total <= _MOST * batch


def with_placeholders(
    request: InputRequest, token: int, count: int, *, kind: int = 1
) -> dict[str, Tensor]:
    """Text with ``count`` placeholders in its middle, and what says where they are.

    ``kind`` is the number of what they stand for: 1 for images, 2 for videos, 3 for sound.
    """
    words = basic.text(request)["input_ids"]
    words = words.masked_fill(words == token, token + 1)
    start = getattr(request.config, "vision_start_token_id", None)
    if isinstance(start, int):
        words[:, 2] = start
    holes = torch.full((request.batch, count), token)
    ids = torch.cat([words[:, :3], holes, words[:, 3:]], 1)
    kinds = kind * (ids == token).long()
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for name in ("mm_token_type_ids", "moe_mm_token_type_ids", "token_type_ids"):
        if request.takes(name):
            rows[name] = kinds
    return rows


def _images(request: InputRequest) -> list[Inputs]:
    """An image for each row: alone, with its size, or as a list of one."""
    seeded = replace(request, generator=torch.Generator().manual_seed(0))
    pixels = basic.image(seeded)
    sizes = torch.tensor([list(pixels.shape[-2:])] * request.batch)
    plain = {"pixel_values": pixels}
    sized = [{**plain, "image_sizes": sizes}] if request.takes("image_sizes") else []
    return [plain, *sized, {"pixel_values": pixels[:, None]}]


def _image_tokens(request: InputRequest, images: Inputs) -> int | None:
    """How many tokens the model makes of these images, computed without values."""
    model: Any = request.model
    queries = getattr(request.config, "num_query_tokens", None)
    if isinstance(queries, int):  # as many as there are learned queries
        return queries * int(images["pixel_values"].shape[0])
    owner: Any = next((m for m in model.modules() if hasattr(m, "get_image_features")), None)
    if owner is None:
        return None
    takes = inspect.signature(owner.get_image_features).parameters
    given = {
        name: value.to("meta") if name == "pixel_values" else value
        for name, value in images.items()
        if name in takes
    }
    try:
        with torch.no_grad():
            result = copy.deepcopy(owner).to("meta").get_image_features(**given)
    except Exception:  # whatever it needs besides
        return None
    width = model.get_input_embeddings().weight.shape[-1]
    named = dict(result) if isinstance(result, dict) else {"result": result}
    for name in ("pooler_output", "result", "last_hidden_state"):
        leaves = tree_leaves(named.get(name))
        sizes = [x.numel() for x in leaves if isinstance(x, Tensor) and x.shape[-1] == width]
        if sizes and not (name == "pooler_output" and leaves[0].ndim == 2 and len(leaves) == 1):
            return int(sum(sizes) // width)
    return 0


def _sounds(request: InputRequest, name: str) -> Iterator[Inputs]:
    """The sound with frames before or after bins, and a mask of ones for either."""
    seeded = replace(request, generator=torch.Generator().manual_seed(0))
    sound = basic.fit_to_first_layer(request.model, {name: basic.audio(name, seeded)})[name]
    layouts = [sound] if sound.ndim < 3 else [sound, sound.transpose(1, 2).contiguous()]
    masks = list(filter(request.takes, _AUDIO_MASKS))
    for layout in layouts:
        lengths = dict.fromkeys((layout.shape[-1], layout.shape[1]))
        for length in lengths if masks else (0,):
            ones = torch.ones((request.batch, length), dtype=torch.long)
            yield {name: layout, **dict.fromkeys(masks, ones)}
            yield {name: layout, **{mask: ones.bool() for mask in masks}}


def _with_random_values(owner: nn.Module) -> nn.Module:
    """A copy with small random numbers for parameters, which have no values yet."""
    generator = torch.Generator().manual_seed(0)
    filled = copy.deepcopy(owner)
    for module in filled.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                values = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                module._parameters[name] = nn.Parameter(values * 0.02, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros_like(buffer, device="cpu")
    return filled


def _audio_tokens(owner: Any, sound: Inputs, width: int) -> int | None:
    """How many tokens the model makes of these sounds; None where it does not take them."""
    takes = inspect.signature(owner.get_audio_features).parameters
    given = {name: value for name, value in sound.items() if name in takes}
    try:
        with torch.no_grad(), quiet():
            result = owner.get_audio_features(**given)
    except Exception:  # another layout, or more inputs
        return None
    named = dict(result) if isinstance(result, dict) else {"pooler_output": result}
    leaves = tree_leaves(named.get("pooler_output"))
    rows = [x for x in leaves if isinstance(x, Tensor) and x.shape[-1:] == (width,)]
    return sum(x.numel() for x in rows) // width
