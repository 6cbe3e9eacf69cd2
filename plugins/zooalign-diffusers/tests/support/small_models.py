"""Small models that tests write to directories as diffusers does."""

from pathlib import Path
from typing import Any

import diffusers
import torch

__all__ = ["unet", "vae", "written"]

_UNET = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "layers_per_block": 1,
    "sample_size": 8,
}
# As in SDXL: pooled text and sizes of the picture beside the steps.
_SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 34,
    "use_linear_projection": True,
    "transformer_layers_per_block": (1, 2),
}


def unet(seed: int, *, sdxl: bool = False, **fields: Any) -> Any:
    torch.manual_seed(seed)
    return diffusers.UNet2DConditionModel(**_UNET, **(_SDXL if sdxl else {}), **fields).eval()


def vae(seed: int) -> Any:
    torch.manual_seed(seed)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def written(model: Any, directory: Path, **how: Any) -> Path:
    model.save_pretrained(directory, **how)
    return directory
