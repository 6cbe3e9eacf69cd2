"""Images: pixels, patches in a row, pictures of a place, of a task, of a film."""

import inspect
from typing import Any

import torch
from torch import nn

from zooalign_transformers import inputs
from zooalign_transformers.inputs import normal

__all__ = [
    "grid",
    "in_tokens",
    "large",
    "line_of_text",
    "masking_noise",
    "merged",
    "naflex",
    "pair",
    "pixels",
    "placed_patches",
    "prompted",
    "queried",
    "sizes",
    "task",
    "videos",
]


def grid(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
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
    pixels = normal(batch * rows * rows, flat, generator=generator)
    if config.model_type == "kimi_k25_vision":  # patches that are images themselves
        pixels = pixels.unflatten(-1, (channels, patch, patch))
    return {name: pixels, "grid_thw": grid, "image_grid_thw": grid}


def merged(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """As :func:`grid`, and how many patches of a side become one."""
    sizes = torch.full((batch,), 2)
    return {**grid(model, config, batch, generator), "merge_sizes": sizes}


def in_tokens(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """The part of an image that becomes a token, colours last, and the grid of tokens of each."""
    side = config.patch_size * config.spatial_merge_size
    pixels = normal(4 * batch, side, side, config.num_channels, generator=generator)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 2, 2]] * batch)}


def pixels(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"pixel_values": inputs.image(config, batch, generator)}


def videos(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"pixel_values_videos": inputs.video(config, batch, generator)}


def sizes(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Patches of images in one row each, and the height and width of each in patches."""
    part = inputs.vision_config(config)
    patch = part.patch_size
    sizes = torch.tensor([[4, 4]] * batch)
    pixels = normal(1, part.num_channels, patch, batch * 16 * patch, generator=generator)
    return {"pixel_values": pixels, "target_sizes": sizes}


def naflex(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Flat patches with a mask, and the height and width of each image in patches."""
    part = inputs.vision_config(config)
    flat = part.num_channels * part.patch_size**2
    made = {
        "pixel_values": normal(batch, 16, flat, generator=generator),
        "pixel_attention_mask": torch.ones((batch, 16), dtype=torch.long),
        "spatial_shapes": torch.tensor([[4, 4]] * batch),
    }
    both = "input_ids" in inspect.signature(type(model).forward).parameters
    return {**inputs.text(config, batch, generator), **made} if both else made


def placed_patches(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Flat patches, and the column and row of each."""
    side = 2 * getattr(config, "pooling_kernel_size", 2)
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)
    places = places.reshape(1, -1, 2).expand(batch, -1, 2).contiguous()
    flat = 3 * config.patch_size**2
    pixels = torch.rand((batch, side * side, flat), generator=generator)
    return {"pixel_values": pixels, "pixel_position_ids": places}


def prompted(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and another with the mask that shows what is asked for."""
    height, width = inputs.image_size(config)
    one = (batch, 3, height // 2, width)
    return {
        "pixel_values": normal(*one, generator=generator),
        "prompt_pixel_values": normal(*one, generator=generator),
        "prompt_masks": normal(*one, generator=generator),
    }


def queried(
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


def task(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    ids = torch.randint(5, 90, (batch, config.task_seq_len), generator=generator)
    return {"pixel_values": inputs.image(config, batch, generator), "task_inputs": ids}


def masking_noise(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A picture, and the noise that decides which patches are hidden."""
    patches = (config.image_size // config.patch_size) ** 2
    noise = torch.rand((batch, patches), generator=generator)
    return {"pixel_values": inputs.image(config, batch, generator), "noise": noise}


def large(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A picture whose smallest copy is still a whole patch."""
    side = round(config.patch_size / min(config.scaled_images_ratios))
    return {"pixel_values": normal(batch, 3, side, side, generator=generator)}


def line_of_text(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"pixel_values": normal(batch, 3, 96, 160, generator=generator)}


def pair(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Two images of one place."""
    return {"pixel_values": normal(batch, 2, 3, 64, 64, generator=generator)}
