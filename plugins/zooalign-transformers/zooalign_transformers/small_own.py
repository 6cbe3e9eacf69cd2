"""Fields that small configurations of single model types need besides the general ones."""

from typing import Any

from zooalign_transformers.small_media import MEDIA

__all__ = ["OWN"]

# Three kinds of positions share the 8 frequencies of a head of 16 dims.
_SECTIONS: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 3, 3],
    },
    "head_dim": 16,
}
_HALF_SECTIONS: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [1, 1, 2],
        "partial_rotary_factor": 0.5,
    },
    "head_dim": 16,
}
_SERIES: dict[str, Any] = {"prediction_length": 4, "context_length": 16, "num_time_features": 2}
_ROTARY: dict[str, Any] = {"rotary_dim": 8}

OWN: dict[str, dict[str, Any]] = {
    **MEDIA,
    "glm4v_text": _SECTIONS,
    "glm4v_moe_text": _HALF_SECTIONS,
    "glm_image_text": _SECTIONS,
    "glm_ocr_text": _SECTIONS,
    "qwen2_vl_text": _SECTIONS,
    "qwen2_5_vl_text": _SECTIONS,
    "paddleocr_vl_text": _SECTIONS,
    "autoformer": {
        **_SERIES,
        "label_length": 12,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    },
    "informer": {**_SERIES, "distil": False},
    "time_series_transformer": _SERIES,
    "gptj": _ROTARY,
    "codegen": _ROTARY,
    "esm": {"vocab_size": 99, "pad_token_id": 1, "mask_token_id": 4},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_vl_text": _SECTIONS,
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8}},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "deepseek_ocr2_text": {
        "mlp_layer_types": ["dense", "sparse"],
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
    },
    "diffusion_gemma_text": {
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 48,
    },
    "cosmos3_edge_text": _SECTIONS,
    "glm5_next_text": {
        "index_topk": 16,
        "qk_rope_head_dim": 0,
        "linear_head_dim": 16,
        "linear_num_heads": 4,
        "hc_sinkhorn_iters": 2,
    },
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 16}},
    "lilt": {"channel_shrink_ratio": 4, "hidden_size": 96, "num_attention_heads": 4},
    "blip-2": {"image_token_index": 50},
    "instructblip": {"image_token_index": 50},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    "dots3_note_audio_encoder": {"adapter_input_size": 64, "adapter_out_dim": 64},
    "ernie4_5_vl_moe_text": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [3, 3, 2],
        },
    },
    "longcat_flash": {
        "head_dim": 8,
        "num_key_value_heads": 4,
        "expert_ffn_hidden_size": 48,
        "zero_expert_num": 2,
    },
    "ministral": {"head_dim": 16},
    "molmo2_adapter": {"vision_feature_layer": [1, 0]},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "muse_spark_audio": {
        "num_hidden_layers": 4,
        "hidden_sizes": [16, 16, 32, 32],
        "depths": [1, 1, 1, 1],
        "out_hidden_size": 64,
    },
    "nemotron": {"num_key_value_heads": 4},
    "nemotron3_diarization": {"head_config": {"audio_hidden_size": 64}},
    "qwen2_5_omni_thinker": {"vision_start_token_id": 60},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 60},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_moe_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "full_attention"],
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 53,
        "split_ngram_parts": 1,
        "hc_lowrank": 16,
    },
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "step3p5": {"sliding_window": 4},
    "kosmos-2": {"latent_query_num": 4},
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 48,
        "num_blocks": 1,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "gemma3": {"mm_tokens_per_image": 4},
    "paligemma2": {"mm_tokens_per_image": 4},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["mamba", "hybrid", "hybrid"], "num_hidden_layers": 3},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
    "timesfm2_5": {"context_length": 128},
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "blt_local_encoder": {"hidden_size_global": 64},
    "blt_local_decoder": {"hidden_size_global": 64},
    "evolla": {
        "protein_encoder_config": {
            "vocab_size": 99,
            "mask_token_id": 4,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
        },
        "aligner_num_add_layers": 1,
        "resampler_depth": 1,
        "resampler_dim_head": 16,
        "resampler_heads": 4,
        "resampler_num_latents": 4,
    },
    "muse_glimmer_assistant": {"layer_types": ["full_attention"] * 2},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 2,
        "moe_shared_expert_intermediate_size": 48,
    },
    "qwen2_5_omni_text": _SECTIONS,
    "hy_v4_vl_text": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 1, 1],
        },
    },
    "t5gemma2_encoder": {"text_config": {"dropout_rate": 0.0}},
}
