"""Small configurations of any model type: the same computation at little cost.

Numbers are made smaller by what their field is called. Each rule keeps what the others need (a
width is a multiple of its heads), so most configurations hold together; those that need more are
in :data:`OVERRIDES`, by model type.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from zooalign.plugins import Architecture, build_initialised, build_on_meta

from zooalign_transformers.configurations import sub_configs
from zooalign_transformers.model_classes import config_class
from zooalign_transformers.quiet import quiet
from zooalign_transformers.small_config_overrides import OVERRIDES

__all__ = ["small_config"]

VOCABULARY = 99
_LAYERS = re.compile(
    r"^(num_hidden_layers|n_layers?|num_layers|encoder_layers|decoder_layers|num_decoder_layers"
    r"|num_encoder_layers|depth|(\w+_)?num_hidden_layers|(\w+_)?num_layers|encoder_depth"
    r"|decoder_depth|vision_layers|text_layers|e_layers|(\w+_)?(encoder|decoder)_layers"
    r"|num_(\w+_)?(layers|blocks)|sem_num_layers)$"
)
_KEPT_LAYERS = {"num_encoder_blocks", "num_residual_layers", "num_mtp_layers", "num_feature_layers"}
_SIZES: dict[str, int] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "hidden_dim": 64, "emb_dim": 64,
    "embed_dim": 64, "encoder_hidden_size": 64, "decoder_hidden_size": 64,
    "encoder_hidden_dim": 64, "out_hidden_size": 64, "projection_dim": 64,
    "projector_hidden_size": 64, "text_embed_dim": 64, "embedding_size": 64,
    "intermediate_size": 96, "ffn_dim": 96, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96,
    "d_ff": 96, "d_inner": 96, "n_inner": 96, "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48, "shared_intermediate_size": 48,
    "decoder_intermediate_size": 96, "ffn_hidden_size": 96, "intermediate_dim": 96,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2,
    "decoder_num_attention_heads": 4, "encoder_num_attention_heads": 4,
    "decoder_num_key_value_heads": 2, "encoder_num_key_value_heads": 2,
    "head_dim": 16, "d_head": 16, "d_kv": 16, "attention_head_dim": 16,
    "kv_lora_rank": 24, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 16, "index_head_dim": 16, "index_n_heads": 4, "index_topk": 4,
    "num_experts": 4, "n_routed_experts": 4, "num_local_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_topk": 2, "n_group": 2, "topk_group": 1, "moe_k": 2,
    "first_k_dense_replace": 1, "num_dense_layers": 1,
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128, "n_ctx": 128,
    "max_source_positions": 40, "max_target_positions": 40,
    "sliding_window": 4, "attention_window": 4,
    "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_chunk_size": 8,
    "state_size": 8, "chunk_size": 8, "time_step_rank": 6,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "num_mel_bins": 16, "classifier_proj_size": 32, "codevector_dim": 32, "proj_codevector_dim": 32,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_queries": 10,
    "image_text_hidden_size": 32, "num_query_tokens": 4, "max_length": 64,
    "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCABULARY,
    "fusion_hidden_size": 32, "pooler_output_size": 64, "attn_hidden_size": 64,
    "codebook_size": 32, "vision_embed_dim": 64, "num_frames": 4,
    "global_num_attention_heads": 4, "projection_size": 64,
}  # fmt: skip
_SPECIAL_TOKENS = {
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "cls_token_id": 1,
    "decoder_start_token_id": 1, "forced_eos_token_id": 2, "forced_bos_token_id": 1,
    "mask_token_id": 4, "unk_token_id": 3, "unk_index": 3, "mask_index": 4,
}  # fmt: skip
# Numbers of layers at which something is done.
_PLACES = {"deepstack_visual_indexes": [0, 1], "fullatt_block_indexes": [1]}
# None by default, and wanted by the model nevertheless.
_WANTED = {"num_key_value_heads": 4}
# Numbers of things that are no widths.
_FEW = {"vocab_size", "vocab_size_per_layer_input"}
_COUNTS = _FEW | {
    "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts",
    "num_experts_per_tok", "moe_topk", "n_group", "topk_group", "moe_k", "num_queries",
    "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_source_positions",
    "max_target_positions", "num_frames", "sliding_window",
}  # fmt: skip
_SIDE = 64  # of an image that is not cut into patches
_PATCHES = 4  # along each side of an image
_MOST_PARAMETERS = 60_000_000


def small_config(name: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``config`` with small values for all it does not say itself; ``name`` is the model class.

    The smallest version that runs is taken; where none does, the smallest, for its error to be
    seen.
    """
    model_type = str(config["model_type"])
    config_type = config_class(model_type, where)
    versions = []
    for level in (0, 1, 2):
        version = {
            **_merged(_small(config_type, model_type, level), config),
            "model_type": model_type,
        }
        if version not in versions:
            versions.append(version)
    return next((version for version in versions if _runs(name, version)), versions[0])


def _runs(name: str, config: dict[str, Any]) -> bool:
    """Whether the model can be built and run, and is small."""
    from zooalign_transformers.building import create, inputs_for

    architecture = Architecture(
        "transformers", config["model_type"], {"class": name, "config": config}
    )
    try:
        module = build_on_meta(lambda: create(architecture))
        if sum(p.numel() for p in module.parameters()) > _MOST_PARAMETERS:
            return False
        module = build_initialised(lambda: create(architecture), 0)
        tensors, _ = inputs_for(architecture, 2)
        with torch.no_grad():
            module(*tensors.values())
    except Exception:  # whatever is wrong with it, another version may do
        return False
    return True


def _small(config_type: Any, model_type: str, level: int) -> dict[str, Any]:
    """Fields of a small configuration; from level 1 on widths stay, from 2 on all but depth."""
    small_fields: dict[str, Any] = {}
    fields = {f.name: _default(f) for f in dataclasses.fields(config_type) if f.name[0] != "_"}
    places = iter(range(50, 90))
    for name, value in fields.items():
        if isinstance(value, bool):
            continue
        if value is None and name in _WANTED and level == 0:
            small_fields[name] = _WANTED[name]
        if isinstance(value, int):
            small = _small_number(name, value, places, level)
            if small is not None and small != value:
                small_fields[name] = small
        elif name in _PLACES and isinstance(value, (list, tuple)):
            small_fields[name] = _PLACES[name]
        elif name == "depths" and isinstance(value, (list, tuple)):
            small_fields[name] = [min(int(n), 2) for n in value]
    if level < 2:
        _fit_image(fields, small_fields)
    if level == 0:
        _fit_heads(fields, small_fields)
    for name, spec in sub_configs(config_type).items():
        inner = _sub_class(spec)
        if inner is not None and inner is not config_type:
            given = {k: _small_given(k, v, level) for k, v in dict(spec.init_kwargs).items()}
            part = {**given, **_small(inner, inner.model_type, level)}
            if not issubclass(spec.config_class, _base()):
                part["model_type"] = inner.model_type
            small_fields[name] = part
    return _merged(small_fields, OVERRIDES.get(model_type, {}))


def _fit_heads(fields: Mapping[str, Any], small_fields: dict[str, Any]) -> None:
    """Widths and heads that have to agree."""
    if "kv_lora_rank" in fields and "num_key_value_heads" in small_fields:  # latent attention
        small_fields["num_key_value_heads"] = small_fields.get("num_attention_heads", 4)
    if any(isinstance(fields.get(n), (list, tuple)) for n in ("num_heads", "depths")):
        for name in ("embed_dim", "hidden_size", "hidden_dim"):  # a stage has a multiple of it
            small_fields.pop(name, None)
    rope = fields.get("rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in rope:
        small_fields["rope_parameters"] = {**rope, "mrope_section": [2, 3, 3]}


def _base() -> Any:
    import transformers

    return transformers.PreTrainedConfig


def _sub_class(spec: Any) -> Any:
    try:
        if issubclass(spec.config_class, _base()):
            return spec.config_class
        return spec.get_config_class(spec.model_type) if spec.model_type else None
    except Exception:  # a part that is another library's
        return None


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        with quiet():
            return field.default_factory()
    return None


def _small_number(name: str, value: int, places: Iterator[int], level: int) -> int | None:
    if name in _SPECIAL_TOKENS:
        return _SPECIAL_TOKENS[name] if value >= VOCABULARY or value < 0 else None
    if name.endswith(("_token_id", "_token_index", "_token", "_token_idx")):
        return next(places) if value >= VOCABULARY else None
    if _LAYERS.match(name) and name not in _KEPT_LAYERS:
        return min(value, 2)
    small = _SIZES.get(name)
    if small is None or (level == 1 and name not in _COUNTS) or (level == 2 and name not in _FEW):
        return None
    return min(value, small)


def _small_given(name: str, value: Any, level: int) -> Any:
    """What a configuration says of a part of itself, made small like the part's own defaults."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    small = _small_number(name, value, iter(range(90, 99)), level)
    return value if small is None else small


def _fit_image(fields: Mapping[str, Any], small_fields: dict[str, Any]) -> None:
    """Few patches, where the image's size and the patch's are numbers."""
    size, patch = fields.get("image_size"), fields.get("patch_size")
    if isinstance(size, int) and patch is None:
        small_fields["image_size"] = min(size, _SIDE)
    elif isinstance(size, int) and isinstance(patch, int):
        sides = _PATCHES if patch >= 8 else 64 // patch
        small_fields["image_size"] = min(size, sides * patch)


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            result[name] = _merged(result[name], value)
        else:
            result[name] = value
    return result
