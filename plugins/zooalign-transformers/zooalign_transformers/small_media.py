"""Fields that small configurations of models of images, videos and sound need besides."""

from typing import Any

__all__ = ["MEDIA"]

_EFFICIENT: dict[str, Any] = {
    "image_size": 64,
    "width_coefficient": 0.5,
    "depth_coefficient": 1.0,
    "num_block_repeats": [1, 1, 2, 1, 1, 1, 1],
}
_INTRACLASS: dict[str, Any] = {
    "reduce_channel": [1, 1, 0],
    "return_channel": [1, 1, 0],
    **{
        f"{name}_{ratio}": [sizes, 1, [n // 2 for n in sizes]]
        for ratio, size in {"longratio": 7, "midratio": 5, "shortratio": 3}.items()
        for name, sizes in {
            "vertical_long_to_small_conv": [size, 1],
            "horizontal_small_to_long_conv": [1, size],
            "symmetric_conv_long": [size, size],
        }.items()
    },
}
_ACOUSTIC: dict[str, Any] = {
    "num_filters": 4,
    "downsampling_ratios": [2, 2, 4, 5],
    "depths": [1, 1, 1, 1, 2],
}

MEDIA: dict[str, dict[str, Any]] = {
    "efficientnet": {**_EFFICIENT, "hidden_dim": 640},
    "align_vision_model": {**_EFFICIENT, "hidden_dim": 160},
    "chameleon": {"vocabulary_map": {"<image>": 50}},
    "emu3": {"vocabulary_map": {"<image>": 50}},
    "csm": {"upsample_groups": 64},
    "mimi": {"upsample_groups": 64},
    "mimi_decoder": {"upsample_groups": 64},
    "mimi_encoder": {"upsample_groups": 64},
    "inkling2_vision": {"text_hidden_size": 64},
    "granite4_vision": {
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[1, 0]],
        "spatial_target_layers": [1],
        "image_grid_pinpoints": [[64, 64]],
    },
    "align": {"projection_dim": 160},
    "instructblipvideo": {"video_token_index": 50},
    "depth_pro": {
        "patch_size": 32,
        "intermediate_hook_ids": [1, 0],
        "intermediate_feature_dims": [32, 32],
        "scaled_images_feature_dims": [32, 32, 32],
        "image_model_config": {"image_size": 32, "patch_size": 8},
        "patch_model_config": {"image_size": 32, "patch_size": 8},
        "fov_model_config": {"image_size": 32, "patch_size": 8},
    },
    "dots3_note_vision_encoder": {
        "mlp_layer_types": ["dense", "sparse"],
        "adapter_in_dim": 64,
        "adapter_out_dim": 64,
    },
    "gemma3n_vision": {"num_classes": 2, "model_args": {"channel_multiplier": 0.25}},
    "timm_wrapper": {"num_classes": 2, "architecture": "resnet10t"},
    "lw_detr_vit": {"num_hidden_layers": 4, "out_indices": [2, 4], "window_block_indices": [0, 2]},
    "rf_detr_vit": {"image_size": 112, "num_windows": 2},
    "sam2_hiera_det_model": {
        "hidden_size": 16,
        "embed_dim_per_stage": [16, 32, 64, 128],
        "blocks_per_stage": [1, 1, 2, 1],
        "num_attention_heads": 1,
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "image_size": [128, 128],
        "global_attention_blocks": [3],
        "window_size_per_stage": [4, 4, 4, 4],
    },
    "sam2_vision_model": {
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    },
    "sam2_prompt_encoder": {"hidden_size": 32, "image_size": 128},
    "sam2_mask_decoder": {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    "dia_decoder": {
        "cross_hidden_size": 64,
        "cross_head_dim": 16,
        "cross_num_attention_heads": 4,
        "cross_num_key_value_heads": 4,
    },
    "textnet": {"image_size": [64, 64]},
    "vjepa2": {
        "crop_size": 64,
        "frames_per_clip": 4,
        "pred_hidden_size": 32,
        "pred_num_attention_heads": 4,
    },
    "swin2sr": {"image_size": 16, "window_size": 4},
    "tvp": {"max_img_size": 64, "visual_prompt_size": 8},
    "lw_detr": {"projector_scale_factors": [1.0]},
    "rf_detr": {
        "backbone_config": {
            "model_type": "rf_detr_dinov2",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "hidden_size": 64,
            "num_register_tokens": 0,
            "image_size": 112,
            "num_windows": 2,
        },
    },
    "edgetam_vision_model": {
        "backbone_config": {
            "architecture": "repvit_m1",
            "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
        },
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    },
    "edgetam_prompt_encoder": {"hidden_size": 32, "image_size": 64},
    "edgetam_mask_decoder": {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    "glmasr_encoder": {"intermediate_size": 256},
    "voxtral": {"audio_token_id": 50},
    "voxtral_encoder": {"intermediate_size": 256},
    "oneformer": {"conv_dim": 64, "mask_dim": 64},
    "efficientloftr": {"stage_num_blocks": [1, 1, 1, 1], "num_attention_layers": 1},
    "pp_ocrv6_medium_det": {
        "kernel_list": [3, 2, 2],
        "scale_factor_list": [1, 2, 4, 8],
        "intraclass_block_config": _INTRACLASS,
    },
    "pp_ocrv6_small_det": {"layer_list_out_channels": [48, 96, 192, 384]},
    "sam3_vision_model": {"fpn_hidden_size": 64},
    "omdet-turbo": {
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": "swin_tiny_patch4_window7_224",
            "out_indices": [1, 2, 3],
            "img_size": 64,
            "always_partition": True,
        },
    },
    "uvdoc": {"backbone_config": {"out_features": [f"stage{n}" for n in range(1, 7)]}},
    "timm_backbone": {"backbone": "resnet10t"},
    "vibevoice_acoustic_tokenizer": _ACOUSTIC,
    "vibevoice_acoustic_tokenizer_encoder": _ACOUSTIC,
    "vibevoice_acoustic_tokenizer_decoder": _ACOUSTIC,
    "sam3_tracker": {
        "vision_config": {
            "fpn_hidden_size": 256,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        "prompt_encoder_config": {"image_size": 56},
    },
    "xcodec2": {"quantization_dim": 128, "num_key_value_heads": 4},
    "llama4_vision_model": {
        "intermediate_size": 256,
        "vision_output_dim": 64,
        "projector_input_dim": 64,
        "projector_output_dim": 64,
    },
    "neucodec": {"quantization_dim": 128, "num_key_value_heads": 4},
    "fast_vlm": {
        "vision_config": {
            "architecture": "fastvit_t8",
            "hidden_size": 768,
            "model_args": {"inference_mode": True},
        },
    },
    "pocket_tts_audio_tokenizer": {"upsample_groups": 64},
    "pocket_tts_audio_tokenizer_decoder": {"upsample_groups": 64},
    "perception_lm": {
        "vision_config": {
            "architecture": "vit_pe_core_tiny_patch16_384",
            "model_args": {"embed_dim": 64, "depth": 2, "num_heads": 4, "img_size": [64, 64]},
        },
    },
    "apertus1p5": {
        "image_token_offset": 20,
        "audio_token_offset": 52,
        "image_token_id": 90,
        "audio_token_id": 91,
    },
    "apertus1p5_vision_tokenizer": {
        "base_channels": 32,
        "channel_multiplier": [1, 2],
        "num_res_blocks": 1,
        "embed_dim": 16,
        "latent_channels": 16,
        "resolution": 16,
    },
    "wavtokenizer": {"codebook_dim": 64},
    "wavtokenizer_encoder": {"codebook_dim": 64},
    "clvp_encoder": {"num_attention_heads": 2},
    "clvp_decoder": {"decoder_fixing_codes": [83, 45, 45, 98]},
}
