"""Fields that small configurations of single model types need besides the general ones."""

from typing import Any

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
    "glm4v_text": _SECTIONS,
    "glm4v_moe_text": _HALF_SECTIONS,
    "glm_image_text": _SECTIONS,
    "glm_ocr_text": _SECTIONS,
    "qwen2_vl_text": _SECTIONS,
    "qwen2_5_vl_text": _SECTIONS,
    "paddleocr_vl_text": _SECTIONS,
    "autoformer": _SERIES,
    "informer": _SERIES,
    "time_series_transformer": _SERIES,
    "gptj": _ROTARY,
    "codegen": _ROTARY,
    "efficientnet": {"hidden_dim": 2560},
    "align_vision_model": {"hidden_dim": 640},
    "esm": {"vocab_size": 99, "pad_token_id": 1, "mask_token_id": 4},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_vl_text": {"head_dim": 16},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "chameleon": {"vocabulary_map": {"<image>": 50}},
    "emu3": {"vocabulary_map": {"<image>": 50}},
    "csm": {"upsample_groups": 64},
    "mimi": {"upsample_groups": 64},
    "mimi_decoder": {"upsample_groups": 64},
    "mimi_encoder": {"upsample_groups": 64},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8}},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "diffusion_gemma_text": {
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 48,
    },
    "cosmos3_edge_text": _SECTIONS,
    "glm5_next_text": {"index_topk": 16},
    "inkling2_vision": {"text_hidden_size": 64},
    "fun_asr_nano_adaptor": {"intermediate_size": 16},
    "granite4_vision": {"deepstack_layer_map": []},
    "lilt": {"channel_shrink_ratio": 4, "hidden_size": 96, "num_attention_heads": 4},
}
