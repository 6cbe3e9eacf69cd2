"""What a call of each model class takes, and a small configuration of it: one class, one entry.

An input is written as the sizes of its axes: ``b`` is the batch, a number is itself, a name is a
field of the configuration, ``n*m`` a product. Before a colon stands what fills it, normally
distributed numbers where nothing does:

- ``step``: steps of a scheduler, whole numbers below 1000;
- ``unit``: numbers between 0 and 1;
- ``below N``: whole numbers below ``N``, a number or a field;
- ``ones``: ones, such as a mask that hides nothing;
- ``places``: rows of coordinates, the same in every call and so no input.

Further names of sizes: ``h`` and ``w`` (``sample_size``, 16 where it says none), ``side`` (the
same but at most 64, for models that take any size), ``f`` (frames) and ``t`` (tokens of a text).
A name with dots is a tensor in a dict: ``added_cond_kwargs.time_ids``. What is no text is passed
as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ENTRIES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """How a model class is called.

    Attributes
    ----------
    inputs:
        By argument, as described above.
    small:
        Fields of a small configuration.
    latents:
        The class encodes and decodes. What lies between is an answer too: other models are
        trained on its channels, and their order is fixed.
    """

    inputs: Mapping[str, Any]
    small: Mapping[str, Any] = field(default_factory=dict)
    latents: bool = False


_STEP = "step: b"


def _autoencoder(sample: str, **small: Any) -> Entry:
    return Entry({"sample": sample}, small, latents=True)


def _packed(*, axes: int, guidance: bool = True, pooled: str = "", **small: Any) -> Entry:
    """Tokens of an image and of a text, each with its place."""
    inputs: dict[str, Any] = {
        "hidden_states": "b 16 in_channels",
        "encoder_hidden_states": "b t joint_attention_dim",
    }
    if pooled:
        inputs["pooled_projections"] = f"b {pooled}"
    inputs |= {
        "timestep": "unit: b",
        "img_ids": f"places: 16 {axes}",
        "txt_ids": f"places: t {axes}",
    }
    if guidance:
        inputs["guidance?guidance_embeds"] = "unit: b"
    size = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2}
    return Entry(inputs, {**size, **small})


_TEXT_UNET = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "layers_per_block": 1,
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
}
_IMAGE_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
}
_OF_TEXT = {"timestep": _STEP, "encoder_hidden_states": "b t cross_attention_dim"}
# What SDXL is told besides: pooled text, and sizes of the picture.
_SDXL = {
    "added_cond_kwargs.text_embeds?addition_embed_type=text_time": "b text_embeds",
    "added_cond_kwargs.time_ids?addition_embed_type=text_time": "unit: b 6",
}
_CLASSES = {"class_labels?num_class_embeds": "below num_class_embeds: b"}
_VIDEO_TRANSFORMER = {
    "hidden_states": "b in_channels f h w",
    "timestep": _STEP,
    "encoder_hidden_states": "b t text_dim",
}
_WAN = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
_CAUSAL_BLOCKS = (8, 8, 8, 8)
_SIZES_OF_PICTURE = {
    "original_size": "unit: b 2",
    "target_size": "unit: b 2",
    "crop_coords": "unit: b 2",
}

ENTRIES: Mapping[str, Entry] = {
    # U-Nets
    "UNet1DModel": Entry(
        {"sample": "b in_channels 16", "timestep": _STEP},
        {
            "block_out_channels": (8, 8, 16),
            "in_channels": 6,
            "out_channels": 6,
            "time_embedding_type": "positional",
            "use_timestep_embedding": True,
            "flip_sin_to_cos": False,
            "freq_shift": 1.0,
            "act_fn": "swish",
            "out_block_type": "OutConv1DBlock",
            "mid_block_type": "MidResTemporalBlock1D",
            "down_block_types": ("DownResnetBlock1D",) * 3,
            "up_block_types": ("UpResnetBlock1D",) * 2,
        },
    ),
    "UNet2DModel": Entry(
        {"sample": "b in_channels side side", "timestep": _STEP, **_CLASSES},
        {
            "block_out_channels": (8, 16),
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "attention_head_dim": 4,
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "sample_size": 8,
        },
    ),
    "UNet2DConditionModel": Entry(
        {"sample": "b in_channels side side", **_OF_TEXT, **_CLASSES, **_SDXL},
        {**_TEXT_UNET, **_IMAGE_BLOCKS},
    ),
    "UNet3DConditionModel": Entry(
        {"sample": "b in_channels f side side", **_OF_TEXT},
        {
            **_TEXT_UNET,
            "attention_head_dim": 2,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        },
    ),
    "UNetSpatioTemporalConditionModel": Entry(
        {
            "sample": "b f in_channels side side",
            "timestep": _STEP,
            "encoder_hidden_states": "b 1 cross_attention_dim",
            "added_time_ids": "unit: b 3",
        },
        {
            "block_out_channels": (32, 64),
            "cross_attention_dim": 12,
            "num_attention_heads": 2,
            "layers_per_block": 1,
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 12,
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        },
    ),
    "UNetMotionModel": Entry(
        {
            "sample": "b in_channels f side side",
            "timestep": _STEP,
            "encoder_hidden_states": "b*f t cross_attention_dim",
        },
        {
            **_TEXT_UNET,
            "block_out_channels": (16, 32),
            "norm_num_groups": 16,
            "cross_attention_dim": 16,
            "num_attention_heads": 2,
            "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
            "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
        },
    ),
    "StableCascadeUNet": Entry(
        {
            "sample": "b in_channels side side",
            "timestep_ratio": "unit: b",
            "clip_text_pooled": "b 1 clip_text_pooled_in_channels",
        },
        {
            "in_channels": 4,
            "out_channels": 4,
            "conditioning_dim": 16,
            "block_out_channels": (16, 16),
            "num_attention_heads": (0, 2),
            "down_num_layers_per_block": (1, 1),
            "up_num_layers_per_block": (1, 1),
            "down_blocks_repeat_mappers": (1, 1),
            "up_blocks_repeat_mappers": (1, 1),
            "block_types_per_layer": (
                ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
                ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
            ),
            "clip_text_pooled_in_channels": 12,
            "clip_seq": 2,
            "kernel_size": 3,
            "timestep_ratio_embedding_dim": 8,
            "timestep_conditioning_type": ("sca",),
            "self_attn": (False, True),
            "dropout": (0.0, 0.0),
        },
    ),
    "UVit2DModel": Entry(
        {
            "input_ids": "below codebook_size: b 16 16",
            "encoder_hidden_states": "b t encoder_hidden_size",
            "pooled_text_emb": "b cond_embed_dim",
            "micro_conds": "unit: b 5",
        },
        {
            "hidden_size": 32,
            "cond_embed_dim": 8,
            "micro_cond_encode_dim": 4,
            "micro_cond_embed_dim": 20,
            "encoder_hidden_size": 12,
            "vocab_size": 20,
            "codebook_size": 16,
            "in_channels": 16,
            "block_out_channels": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "block_num_heads": 2,
            "intermediate_size": 48,
            "num_res_blocks": 1,
            "sample_size": 16,
        },
    ),
    # What steers a U-Net or a transformer
    "ControlNetModel": Entry(
        {
            "sample": "b in_channels side side",
            **_OF_TEXT,
            "controlnet_cond": "b conditioning_channels side*8 side*8",
            **_CLASSES,
            **_SDXL,
        },
        {
            "block_out_channels": (8, 16),
            "norm_num_groups": 4,
            "cross_attention_dim": 12,
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "conditioning_embedding_out_channels": (4, 8, 8, 8),
        },
    ),
    "T2IAdapter": Entry(
        {"x": "b in_channels 64 64"}, {"channels": (8, 16, 16, 16), "num_res_blocks": 1}
    ),
    "SD3ControlNetModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "controlnet_cond": "b in_channels h w",
            "encoder_hidden_states": "b t joint_attention_dim",
            "pooled_projections": "b pooled_projection_dim",
            "timestep": _STEP,
        },
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "num_layers": 1,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 16,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 12,
            "pos_embed_max_size": 16,
        },
    ),
    "FluxControlNetModel": Entry(
        {
            "hidden_states": "b 16 in_channels",
            "controlnet_cond": "b 16 in_channels",
            "encoder_hidden_states": "b t joint_attention_dim",
            "pooled_projections": "b pooled_projection_dim",
            "timestep": "unit: b",
            "img_ids": "places: 16 3",
            "txt_ids": "places: t 3",
            "guidance?guidance_embeds": "unit: b",
        },
        {
            "in_channels": 4,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "pooled_projection_dim": 10,
            "axes_dims_rope": [4, 4, 8],
        },
    ),
    # Autoencoders
    "AutoencoderKL": _autoencoder(
        "b in_channels side side",
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    "AsymmetricAutoencoderKL": _autoencoder(
        "b in_channels side side",
        down_block_types=("DownEncoderBlock2D",) * 2,
        down_block_out_channels=(8, 16),
        up_block_types=("UpDecoderBlock2D",) * 2,
        up_block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
    ),
    "AutoencoderKLTemporalDecoder": Entry(
        {"sample": "b in_channels side side", "num_frames": 1},
        {
            "block_out_channels": (32, 64),
            "sample_size": 16,
            "layers_per_block": 1,
            "down_block_types": ("DownEncoderBlock2D",) * 2,
        },
        latents=True,
    ),
    "AutoencoderTiny": _autoencoder(
        "b in_channels 32 32",
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    "AutoencoderDC": _autoencoder(
        "b in_channels 32 32",
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    ),
    "VQModel": _autoencoder(
        "b in_channels side side",
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        num_vq_embeddings=16,
    ),
    "AutoencoderOobleck": _autoencoder(
        "b audio_channels 24",
        encoder_hidden_size=12,
        decoder_channels=12,
        decoder_input_channels=6,
        downsampling_ratios=[2, 4],
        channel_multiples=[1, 2],
    ),
    "AutoencoderKLWan": _autoencoder(
        "b in_channels 5 16 16",
        base_dim=6,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ),
    "AutoencoderKLQwenImage": _autoencoder(
        "b input_channels 1 16 16",
        base_dim=6,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ),
    "AutoencoderKLCogVideoX": _autoencoder(
        "b in_channels 9 16 16",
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=_CAUSAL_BLOCKS,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    ),
    "AutoencoderKLHunyuanVideo": _autoencoder(
        "b in_channels 5 16 16",
        latent_channels=4,
        block_out_channels=_CAUSAL_BLOCKS,
        layers_per_block=1,
        norm_num_groups=4,
    ),
    "AutoencoderKLMochi": _autoencoder(
        "b 3 7 16 16",
        latent_channels=4,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    ),
    "AutoencoderKLLTXVideo": _autoencoder(
        "b in_channels 9 16 16",
        latent_channels=8,
        block_out_channels=_CAUSAL_BLOCKS,
        decoder_block_out_channels=_CAUSAL_BLOCKS,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        patch_size=1,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
    ),
    "AutoencoderKLCosmos": _autoencoder(
        "b in_channels 9 32 32",
        latent_channels=4,
        encoder_block_out_channels=_CAUSAL_BLOCKS,
        decode_block_out_channels=_CAUSAL_BLOCKS,
        attention_resolutions=(8,),
        resolution=64,
        num_layers=2,
        patch_size=4,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    ),
    "AutoencoderKLMagvit": _autoencoder(
        "b in_channels 9 16 16",
        latent_channels=4,
        block_out_channels=_CAUSAL_BLOCKS,
        layers_per_block=1,
        norm_num_groups=4,
        spatial_group_norm=True,
        down_block_types=["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 3],
        up_block_types=["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 3],
    ),
    # Transformers of images
    "DiTTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "timestep": _STEP,
            "class_labels": "below num_embeds_ada_norm: b",
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "sample_size": 8,
            "num_embeds_ada_norm": 10,
            "out_channels": 8,
        },
    ),
    "PixArtTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t caption_channels",
            "timestep": _STEP,
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "sample_size": 8,
            "cross_attention_dim": 16,
            "caption_channels": 12,
            "use_additional_conditions": False,
        },
    ),
    "Transformer2DModel": Entry(
        {
            "hidden_states": "b in_channels 8 8",
            "encoder_hidden_states": "b t cross_attention_dim",
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "in_channels": 8,
            "norm_num_groups": 4,
            "cross_attention_dim": 12,
            "norm_type": "layer_norm",
        },
    ),
    "TransformerTemporalModel": Entry(
        {"hidden_states": "b*3 in_channels 4 4", "num_frames": 3},
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "in_channels": 8,
            "norm_num_groups": 4,
        },
    ),
    "SD3Transformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t joint_attention_dim",
            "pooled_projections": "b pooled_projection_dim",
            "timestep": _STEP,
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 14,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 12,
            "out_channels": 4,
            "pos_embed_max_size": 16,
        },
    ),
    "FluxTransformer2DModel": _packed(
        axes=3,
        pooled="pooled_projection_dim",
        in_channels=4,
        attention_head_dim=16,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=[4, 4, 8],
    ),
    "Flux2Transformer2DModel": _packed(
        axes=4,
        in_channels=4,
        attention_head_dim=16,
        joint_attention_dim=12,
        timestep_guidance_channels=16,
        axes_dims_rope=[4, 4, 4, 4],
    ),
    "ChromaTransformer2DModel": _packed(
        axes=3,
        guidance=False,
        in_channels=4,
        attention_head_dim=16,
        joint_attention_dim=12,
        axes_dims_rope=[4, 4, 8],
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    ),
    "BriaTransformer2DModel": _packed(
        axes=3,
        guidance=False,
        in_channels=4,
        attention_head_dim=8,
        joint_attention_dim=12,
        pooled_projection_dim=None,
        axes_dims_rope=[0, 4, 4],
    ),
    "LongCatImageTransformer2DModel": _packed(
        axes=3,
        guidance=False,
        in_channels=4,
        attention_head_dim=16,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=[4, 4, 8],
    ),
    "OvisImageTransformer2DModel": _packed(
        axes=3,
        guidance=False,
        in_channels=4,
        attention_head_dim=16,
        joint_attention_dim=12,
        axes_dims_rope=[4, 4, 8],
    ),
    "QwenImageTransformer2DModel": Entry(
        {
            "hidden_states": "b 16 in_channels",
            "encoder_hidden_states": "b t joint_attention_dim",
            "encoder_hidden_states_mask": "ones: b t",
            "timestep": "unit: b",
            "img_shapes": [[(1, 4, 4)]] * 2,
        },
        {
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (8, 4, 4),
        },
    ),
    "AuraFlowTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t joint_attention_dim",
            "timestep": "unit: b",
        },
        {
            "sample_size": 8,
            "num_mmdit_layers": 1,
            "num_single_dit_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "pos_embed_max_size": 64,
        },
    ),
    "SanaTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t caption_channels",
            "timestep": _STEP,
            "guidance?guidance_embeds": "unit: b",
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 12,
        },
    ),
    "Lumina2Transformer2DModel": Entry(
        {
            "hidden_states": "b in_channels 8 8",
            "timestep": "unit: b",
            "encoder_hidden_states": "b t cap_feat_dim",
            "encoder_attention_mask": "below 2: b t",
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "hidden_size": 24,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "num_attention_heads": 3,
            "num_kv_heads": 1,
            "multiple_of": 2,
            "axes_dim_rope": (4, 2, 2),
            "axes_lens": (32, 16, 16),
            "cap_feat_dim": 12,
        },
    ),
    "CogView3PlusTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t text_embed_dim",
            "timestep": _STEP,
            **_SIZES_OF_PICTURE,
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "out_channels": 4,
            "text_embed_dim": 12,
            "time_embed_dim": 8,
            "condition_dim": 4,
            "pos_embed_max_size": 16,
        },
    ),
    "CogView4Transformer2DModel": Entry(
        {
            "hidden_states": "b in_channels h w",
            "encoder_hidden_states": "b t text_embed_dim",
            "timestep": _STEP,
            **_SIZES_OF_PICTURE,
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "out_channels": 4,
            "text_embed_dim": 12,
            "time_embed_dim": 8,
            "condition_dim": 4,
        },
    ),
    "HiDreamImageTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels 8 8",
            "timesteps": _STEP,
            "encoder_hidden_states_t5": "b t 8",
            "encoder_hidden_states_llama3": "2 b t 4",
            "pooled_embeds": "b text_emb_dim",
        },
        {
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 8,
            "num_attention_heads": 4,
            "caption_channels": [8, 4],
            "text_emb_dim": 8,
            "num_routed_experts": 2,
            "num_activated_experts": 2,
            "axes_dims_rope": (4, 2, 2),
            "max_resolution": (8, 8),
            "llama_layers": (0, 1),
            "force_inference_output": True,
        },
    ),
    "PRXTransformer2DModel": Entry(
        {
            "hidden_states": "b in_channels 8 8",
            "timestep": "unit: b",
            "encoder_hidden_states": "b t context_in_dim",
        },
        {
            "in_channels": 4,
            "patch_size": 2,
            "context_in_dim": 12,
            "hidden_size": 16,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 2,
            "axes_dim": [4, 4],
        },
    ),
    "PriorTransformer": Entry(
        {
            "hidden_states": "b embedding_dim",
            "timestep": _STEP,
            "proj_embedding": "b embedding_dim",
            "encoder_hidden_states": "b num_embeddings embedding_dim",
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "embedding_dim": 12,
            "num_embeddings": 5,
        },
    ),
    # Transformers of video and sound
    "WanTransformer3DModel": Entry(_VIDEO_TRANSFORMER, _WAN),
    "SkyReelsV2Transformer3DModel": Entry(_VIDEO_TRANSFORMER, _WAN),
    "ChronoEditTransformer3DModel": Entry(
        _VIDEO_TRANSFORMER, {**_WAN, "rope_temporal_skip_len": 8}
    ),
    "WanVACETransformer3DModel": Entry(
        {**_VIDEO_TRANSFORMER, "control_hidden_states": "b vace_in_channels f h w"},
        {**_WAN, "vace_layers": [0, 1], "vace_in_channels": 12},
    ),
    "CogVideoXTransformer3DModel": Entry(
        {
            "hidden_states": "b 2 in_channels sample_height sample_width",
            "encoder_hidden_states": "b max_text_seq_length text_embed_dim",
            "timestep": _STEP,
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "in_channels": 4,
            "out_channels": 4,
            "time_embed_dim": 6,
            "text_embed_dim": 12,
            "num_layers": 2,
            "sample_width": 8,
            "sample_height": 8,
            "sample_frames": 5,
            "max_text_seq_length": 5,
        },
    ),
    "LTXVideoTransformer3DModel": Entry(
        {
            "hidden_states": "b 2*4*4 in_channels",
            "encoder_hidden_states": "b t caption_channels",
            "timestep": _STEP,
            "encoder_attention_mask": "ones: b t",
            "num_frames": 2,
            "height": 4,
            "width": 4,
        },
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 16,
            "num_layers": 2,
            "caption_channels": 12,
        },
    ),
    "MochiTransformer3DModel": Entry(
        {
            "hidden_states": "b in_channels 2 8 8",
            "encoder_hidden_states": "b t text_embed_dim",
            "timestep": _STEP,
            "encoder_attention_mask": "ones: b t",
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "pooled_projection_dim": 8,
            "in_channels": 4,
            "text_embed_dim": 16,
            "time_embed_dim": 4,
        },
    ),
    "HunyuanVideoTransformer3DModel": Entry(
        {
            "hidden_states": "b in_channels 2 4 4",
            "timestep": _STEP,
            "encoder_hidden_states": "b t text_embed_dim",
            "encoder_attention_mask": "ones: b t",
            "pooled_projections": "b pooled_projection_dim",
            "guidance?guidance_embeds": "unit: b",
        },
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 10,
            "num_layers": 1,
            "num_single_layers": 1,
            "num_refiner_layers": 1,
            "patch_size": 1,
            "text_embed_dim": 12,
            "pooled_projection_dim": 8,
            "rope_axes_dim": (2, 4, 4),
        },
    ),
    "AllegroTransformer3DModel": Entry(
        {
            "hidden_states": "b in_channels 2 sample_height sample_width",
            "encoder_hidden_states": "b t caption_channels",
            "timestep": _STEP,
        },
        {
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "cross_attention_dim": 24,
            "sample_width": 8,
            "sample_height": 8,
            "sample_frames": 4,
            "caption_channels": 14,
        },
    ),
    "LatteTransformer3DModel": Entry(
        {
            "hidden_states": "b in_channels 2 h w",
            "encoder_hidden_states": "b t caption_channels",
            "timestep": _STEP,
        },
        {
            "sample_size": 8,
            "num_layers": 1,
            "patch_size": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "caption_channels": 12,
            "in_channels": 4,
            "cross_attention_dim": 16,
            "out_channels": 8,
            "attention_bias": True,
            "activation_fn": "gelu-approximate",
            "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
            "video_length": 2,
        },
    ),
    "CosmosTransformer3DModel": Entry(
        {
            "hidden_states": "b in_channels 1 8 8",
            "timestep": "unit: b",
            "encoder_hidden_states": "b t text_embed_dim",
            "padding_mask": "places: 1 1 8 8",
        },
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "num_layers": 2,
            "mlp_ratio": 2,
            "text_embed_dim": 16,
            "adaln_lora_dim": 4,
            "max_size": (4, 32, 32),
            "rope_scale": (2.0, 1.0, 1.0),
            "extra_pos_embed_type": None,
        },
    ),
    "StableAudioDiTModel": Entry(
        {
            "hidden_states": "b in_channels sample_size",
            "timestep": "unit: b",
            "encoder_hidden_states": "b t cross_attention_input_dim",
            "global_hidden_states": "b 1 global_states_input_dim",
        },
        {
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 4,
            "num_key_value_attention_heads": 2,
            "out_channels": 4,
            "cross_attention_dim": 12,
            "cross_attention_input_dim": 10,
            "global_states_input_dim": 14,
            "time_proj_dim": 6,
        },
    ),
}
