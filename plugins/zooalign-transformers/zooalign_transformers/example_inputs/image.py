"""Images: pixels, patches in a row, pictures of a place, of a task, of a film."""

from dataclasses import replace

import torch

from zooalign_transformers.example_inputs import basic
from zooalign_transformers.example_inputs.basic import InputRequest, Inputs

__all__ = [
    "image",
    "image_and_class_names",
    "image_and_masking_noise",
    "image_and_prompt_mask",
    "image_and_task",
    "image_at_several_scales",
    "image_of_a_text_line",
    "image_pair",
    "masked_patches",
    "patches_in_a_row",
    "patches_of_tokens",
    "patches_with_grid",
    "patches_with_merge_sizes",
    "patches_with_positions",
    "video",
]


def patches_with_grid(request: InputRequest) -> Inputs:
    """Patches of images, flat and one after another, and the grid (time, rows, columns) of each."""
    pixels, grid = basic.patches(request)
    if request.config.model_type == "kimi_k25_vision":  # patches that are images themselves
        side = basic.vision_config(request.config).patch_size
        pixels = pixels.reshape(pixels.shape[0], -1, side, side)
    name = "pixel_values" if request.takes("pixel_values") else "hidden_states"
    return {name: pixels, "grid_thw": grid, "image_grid_thw": grid}


def patches_with_merge_sizes(request: InputRequest) -> Inputs:
    """As :func:`patches_with_grid`, and how many patches of a side become one."""
    sizes = torch.full((request.batch,), 2)
    return {**patches_with_grid(request), "merge_sizes": sizes}


def patches_of_tokens(request: InputRequest) -> Inputs:
    """The part of an image that becomes a token, colours last, and the grid of tokens of each."""
    side = request.config.patch_size * request.config.spatial_merge_size
    pixels = request.normal(4 * request.batch, side, side, request.config.num_channels)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 2, 2]] * request.batch)}


def image(request: InputRequest) -> Inputs:
    """Normalised pixels."""
    return {"pixel_values": basic.image(request)}


def video(request: InputRequest) -> Inputs:
    """Normalised pixels of the frames of a video."""
    return {"pixel_values_videos": basic.video(request)}


def patches_in_a_row(request: InputRequest) -> Inputs:
    """Patches of images in one row each, and the height and width of each in patches."""
    part = basic.vision_config(request.config)
    patch = part.patch_size
    sizes = torch.tensor([[4, 4]] * request.batch)
    pixels = request.normal(1, part.num_channels, patch, request.batch * 16 * patch)
    return {"pixel_values": pixels, "target_sizes": sizes}


def masked_patches(request: InputRequest) -> Inputs:
    """Flat patches with a mask, and the height and width of each image in patches."""
    part = basic.vision_config(request.config)
    flat = part.num_channels * part.patch_size**2
    tensors = {
        "pixel_values": request.normal(request.batch, 16, flat),
        "pixel_attention_mask": torch.ones((request.batch, 16), dtype=torch.long),
        "spatial_shapes": torch.tensor([[4, 4]] * request.batch),
    }
    both = request.takes("input_ids")
    return {**basic.text(request), **tensors} if both else tensors


def patches_with_positions(request: InputRequest) -> Inputs:
    """Flat patches, and the column and row of each."""
    side = 2 * getattr(request.config, "pooling_kernel_size", 2)
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)
    places = places.reshape(1, -1, 2).expand(request.batch, -1, 2).contiguous()
    flat = 3 * request.config.patch_size**2
    pixels = torch.rand((request.batch, side * side, flat), generator=request.generator)
    return {"pixel_values": pixels, "pixel_position_ids": places}


def image_and_prompt_mask(request: InputRequest) -> Inputs:
    """A picture, and another with the mask that shows what is asked for."""
    height, width = basic.image_size(request.config)
    one = (request.batch, 3, height // 2, width)
    return {
        "pixel_values": request.normal(*one),
        "prompt_pixel_values": request.normal(*one),
        "prompt_masks": request.normal(*one),
    }


def image_and_class_names(request: InputRequest) -> Inputs:
    """A picture, three classes for each, and a task, as text."""
    prompts = request.of(request.config.text_config)
    classes = basic.tokens(replace(prompts, batch=3 * request.batch))
    tasks = basic.tokens(prompts)
    return {
        "pixel_values": basic.image(request),
        "classes_input_ids": classes,
        "classes_attention_mask": torch.ones_like(classes),
        "tasks_input_ids": tasks,
        "tasks_attention_mask": torch.ones_like(tasks),
        "classes_structure": torch.tensor([3] * request.batch),
    }


def image_and_task(request: InputRequest) -> Inputs:
    """An image, and the task as tokens."""
    ids = torch.randint(
        5, 90, (request.batch, request.config.task_seq_len), generator=request.generator
    )
    return {"pixel_values": basic.image(request), "task_inputs": ids}


def image_and_masking_noise(request: InputRequest) -> Inputs:
    """A picture, and the noise that decides which patches are hidden."""
    patches = (request.config.image_size // request.config.patch_size) ** 2
    noise = torch.rand((request.batch, patches), generator=request.generator)
    return {"pixel_values": basic.image(request), "noise": noise}


def image_at_several_scales(request: InputRequest) -> Inputs:
    """A picture whose smallest copy is still a whole patch."""
    side = round(request.config.patch_size / min(request.config.scaled_images_ratios))
    return {"pixel_values": request.normal(request.batch, 3, side, side)}


def image_of_a_text_line(request: InputRequest) -> Inputs:
    """An image of the size that a line of text is cut out in."""
    return {"pixel_values": request.normal(request.batch, 3, 96, 160)}


def image_pair(request: InputRequest) -> Inputs:
    """Two images of one place."""
    return {"pixel_values": request.normal(request.batch, 2, 3, 64, 64)}
