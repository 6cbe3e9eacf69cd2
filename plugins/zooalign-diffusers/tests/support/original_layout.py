"""The names that Stable Diffusion's own program gives the tensors of a U-Net and an autoencoder."""

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["original_unet", "original_vae"]

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def original_unet(state: Mapping[str, Tensor], layers: int = 1) -> dict[str, Tensor]:
    """A U-Net's tensors; ``layers`` is ``layers_per_block``."""
    return {f"model.diffusion_model.{_of_unet(k, layers, state)}": v for k, v in state.items()}


def _of_unet(name: str, layers: int, state: Mapping[str, Tensor]) -> str:
    stem, kind = name.rsplit(".", 1)
    if stem in _ENDS:
        return f"{_ENDS[stem]}.{kind}"
    place, number, part, index, rest = _split(name)
    for ours, theirs in _RESNET.items():
        if part == "resnets":
            rest = rest.replace(ours, theirs)
    if place == "mid_block":
        return f"middle_block.{1 if part == 'attentions' else 2 * index}.{rest}"
    if part == "downsamplers":
        return f"input_blocks.{(layers + 1) * (number + 1)}.0.op.{kind}"
    if place == "down_blocks":
        block = (layers + 1) * number + index + 1
        return f"input_blocks.{block}.{int(part == 'attentions')}.{rest}"
    block = (layers + 1) * number + index
    if part == "upsamplers":
        attends = any(k.startswith(f"up_blocks.{number}.attentions") for k in state)
        return f"output_blocks.{block + layers}.{1 + attends}.conv.{kind}"
    return f"output_blocks.{block}.{int(part == 'attentions')}.{rest}"


def _split(name: str) -> tuple[str, int, str, int, str]:
    found = re.fullmatch(r"(\w+_blocks?)\.(?:(\d+)\.)?([a-z]+)\.(\d+)\.(.*)", name)
    assert found is not None, name
    return found[1], int(found[2] or 0), found[3], int(found[4]), found[5]


def original_vae(state: Mapping[str, Tensor], blocks: int = 2) -> dict[str, Tensor]:
    """An autoencoder's tensors: attention by convolutions of one place."""
    result = {}
    for name, tensor in state.items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(
            r"up_blocks\.(\d)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", new
        )
        new = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0",
            lambda m: f"up.{blocks - 1 - int(m[1])}.upsample",
            new,
        )
        if "mid_block.attentions.0." in new:
            new = new.replace("mid_block.attentions.0.", "mid.attn_1.")
            new = new.replace("group_norm", "norm").replace("to_out.0", "proj_out")
            new = re.sub(r"to_([qkv])\.", r"\1.", new)
            if tensor.ndim == 2:
                tensor = tensor[:, :, None, None]
        result[f"first_stage_model.{new}"] = tensor
    return result
