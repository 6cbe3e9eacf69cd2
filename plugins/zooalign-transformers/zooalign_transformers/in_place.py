"""Images in a language model's text: placeholder tokens, as many as the model makes of an image.

Without them the part that sees would not be reached, and its last layer, which writes into the
text's stream, would not be said to go with it.
"""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from zooalign_transformers import inputs

__all__ = ["image_in_text", "with_places"]

_NAMES = ("image_token_id", "image_token_index", "image_patch_id", "media_placeholder_token_id")
_MOST = 400  # tokens of one image


def image_in_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any] | None:
    """``input_ids`` with an image in each row, and its pixels; None where this is another model."""
    takes = inspect.signature(type(model).forward).parameters
    token = _token(config)
    if token is None or not {"input_ids", "pixel_values"} <= set(takes):
        return None
    if "image_grid_thw" in takes:
        pixels, grid, count = _patches(config, batch, generator)
        variants: list[tuple[dict[str, Any], int | None]] = [
            ({"pixel_values": pixels, "image_grid_thw": grid}, batch * count)
        ]
    else:
        variants = [(made, _count(model, made, config)) for made in _pictures(config, batch, takes)]
    for made, found in variants:
        if found and found % batch == 0 and found <= _MOST * batch:
            rows = with_places(config, takes, token, found // batch, batch, generator)
            return {**rows, **made}
    return None


def _pictures(config: Any, batch: int, takes: Any) -> list[dict[str, Any]]:
    """An image for each row: alone, with its size, or as a list of one."""
    pixels = inputs.image(config, batch, torch.Generator().manual_seed(0))
    sizes = torch.tensor([list(pixels.shape[-2:])] * batch)
    plain = {"pixel_values": pixels}
    sized = [{**plain, "image_sizes": sizes}] if "image_sizes" in takes else []
    return [plain, *sized, {"pixel_values": pixels[:, None]}]


def with_places(
    config: Any,
    takes: Any,
    token: int,
    count: int,
    batch: int,
    generator: torch.Generator,
    *,
    kind: int = 1,
) -> dict[str, Tensor]:
    """Text with ``count`` placeholders in its middle, and what says where they are.

    ``kind`` is the number of what they stand for: 1 for images, 2 for videos, 3 for sound.
    """
    found = inputs.text(config, batch, generator)["input_ids"]
    found = found.masked_fill(found == token, token + 1)
    start = getattr(config, "vision_start_token_id", None)
    if isinstance(start, int):
        found[:, 2] = start
    holes = torch.full((batch, count), token)
    ids = torch.cat([found[:, :3], holes, found[:, 3:]], 1)
    kinds = kind * (ids == token).long()
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for name in ("mm_token_type_ids", "moe_mm_token_type_ids", "token_type_ids"):
        if name in takes:
            made[name] = kinds
    return made


def _token(config: Any) -> int | None:
    for name in _NAMES:
        found = getattr(config, name, None)
        if isinstance(found, int) and found >= 0:
            return found
    return None


def _patches(config: Any, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Flat patches, the grid of each image, and how many tokens each becomes."""
    part = inputs.vision_config(config)
    merge = getattr(part, "spatial_merge_size", None) or getattr(part, "merge_size", None) or 2
    merge = merge if isinstance(merge, int) else 2
    rows = 2 * merge
    patch = getattr(part, "patch_size", 14)
    patch = patch if isinstance(patch, int) else patch[0]
    channels = getattr(part, "in_channels", None) or getattr(part, "num_channels", None) or 3
    times = getattr(part, "temporal_patch_size", None) or 1
    times = times if isinstance(times, int) else times[0]
    flat = channels * times * patch * patch
    pixels = torch.randn((batch * rows * rows, flat), generator=generator)
    # Two rows of two; HunyuanVL and HY end each with a token, the one sets the image off by two.
    count = {"hunyuan_vl": 8, "hy_v4_vl": 6}.get(config.model_type, 4)
    return pixels, torch.tensor([[1, rows, rows]] * batch), count


def _count(model: Any, made: dict[str, Any], config: Any) -> int | None:
    """How many tokens the model makes of these images, computed without values."""
    queries = getattr(config, "num_query_tokens", None)
    if isinstance(queries, int):  # as many as there are learned queries
        return queries * made["pixel_values"].shape[0]
    owner: Any = next((m for m in model.modules() if hasattr(m, "get_image_features")), None)
    if owner is None:
        return None
    features: Any = owner.get_image_features
    takes = inspect.signature(features).parameters
    given = {name: value for name, value in made.items() if name in takes}
    try:
        empty: Any = copy.deepcopy(owner).to("meta")
        on_meta = {
            name: value.to("meta") if name == "pixel_values" else value
            for name, value in given.items()
        }
        with torch.no_grad():
            result = empty.get_image_features(**on_meta)
    except Exception:  # whatever it needs besides
        return None
    return _tokens_in(result, model.get_input_embeddings().weight.shape[-1])


def _tokens_in(result: Any, width: int) -> int:
    """Rows of the text's width, wherever they are."""
    named = dict(result) if isinstance(result, dict) else {"result": result}
    for name in ("pooler_output", "result", "last_hidden_state"):
        leaves = tree_leaves(named.get(name))
        sizes = [x.numel() for x in leaves if isinstance(x, Tensor) and x.shape[-1] == width]
        if sizes and not (name == "pooler_output" and leaves[0].ndim == 2 and len(leaves) == 1):
            return sum(sizes) // width
    return 0
