"""Closed forms of further structures, worked out beside each case."""

import pytest
from hf_forms import L, proven

SIZES = (
    "vocab_size=99&hidden_size=64&num_hidden_layers=2&num_attention_heads=4&intermediate_size=96"
)
GQA = SIZES.replace("num_attention_heads=4", "num_attention_heads=8") + (
    "&num_key_value_heads=2&head_dim=8"
)
MOE = GQA.replace("intermediate_size=96", "intermediate_size=48")
STREAM = L(64)
HEADS = L(4) + 8 * L(16)  # four heads of 16 dims; query/key and value dims in each
BLOCK = L(96) + HEADS
# Rotary embedding: two key heads with four query heads each, value dims in each key head.
GROUPED = L(2) + 2 * L(4) + 2 * L(8)
EXPERTS = L(4) + 4 * L(48)  # four experts, 48 units in each

CASES = {
    # One key head: nothing to exchange there, and one set of value dims.
    "mqa": (
        f"llama?task=causal-lm&{GQA.replace('value_heads=2', 'value_heads=1')}",
        STREAM + 2 * (L(96) + L(8) + L(8)),
    ),
    # Norms over head_dim with one weight for all heads; the rotary embedding pins its dims anyway.
    "qk norm": (f"qwen3?task=causal-lm&{GQA}", STREAM + 2 * (L(96) + GROUPED)),
    # ALiBi tells heads apart, and takes no dims.
    "alibi": (
        "bloom?task=causal-lm&vocab_size=99&hidden_size=64&n_layer=2&n_head=4",
        STREAM + 2 * (L(256) + 8 * L(16)),
    ),
    # A learned position embedding behind the mask's running sum.
    "opt": (
        f"opt?task=causal-lm&{SIZES.replace('intermediate_size', 'ffn_dim')}"
        "&word_embed_proj_dim=64",
        STREAM + 2 * BLOCK,
    ),
    # A classification head of its own width in the pooler's place.
    "roberta": (f"roberta?task=sequence-classification&{SIZES}", 2 * STREAM + 2 * BLOCK),
    # The decoder is the embedding, so what is made for it has the stream's order too.
    "bert for masked tokens": (f"bert?task=masked-lm&{SIZES}", STREAM + 2 * BLOCK),
    # All layers are one; the embedding is narrower than the stream.
    "albert": (
        f"albert?task=sequence-classification&{SIZES}&embedding_size=32",
        L(32) + STREAM + STREAM + BLOCK,
    ),
    "distilbert": (
        "distilbert?task=sequence-classification&vocab_size=99&dim=64&n_layers=2&n_heads=4&"
        "hidden_dim=96",
        2 * STREAM + 2 * BLOCK,
    ),
    # Attention and MLP beside each other; neighbouring dims are rotated together, 8 of 16.
    "gptj": (
        "gptj?task=causal-lm&vocab_size=99&n_embd=64&n_layer=2&n_head=4&n_inner=96&rotary_dim=8",
        STREAM + 2 * (L(96) + L(4) + 4 * (L(8) + L(16))),
    ),
    # Fused projections of query, key and value, and of gate and up.
    "phi3": (
        f"phi3?task=causal-lm&{GQA.replace('&head_dim=8', '')}&pad_token_id=0",
        STREAM + 2 * (L(96) + GROUPED),
    ),
    # Experts are a free set through the router.
    "mixtral": (
        f"mixtral?task=causal-lm&{MOE}&num_local_experts=4&num_experts_per_tok=2",
        STREAM + 2 * (EXPERTS + GROUPED),
    ),
    # And an expert for all tokens beside them, behind a gate of its own.
    "qwen2_moe": (
        f"qwen2_moe?task=causal-lm&{SIZES}&num_key_value_heads=4&moe_intermediate_size=48&"
        "shared_expert_intermediate_size=40&num_experts=4&num_experts_per_tok=2",
        STREAM + 2 * (EXPERTS + L(40) + L(4) + 4 * L(16)),
    ),
    # Interleaved gates and biases in the fused weights; sinks, one for each query head.
    "gpt_oss": (
        f"gpt_oss?task=causal-lm&{MOE}&num_local_experts=4&num_experts_per_tok=2&sliding_window=4",
        STREAM + 2 * (EXPERTS + GROUPED),
    ),
    # 128 inner channels, 8 dims of state in every channel alike, rank 6 of the step.
    "mamba": (
        "mamba?task=causal-lm&vocab_size=99&hidden_size=64&num_hidden_layers=2&state_size=8&"
        "time_step_rank=6",
        STREAM + 2 * (L(128) + L(8) + L(6)),
    ),
    # Images: as a text encoder.
    "vit": (
        f"vit?task=image-classification&{SIZES.replace('vocab_size=99&', '')}"
        "&image_size=32&patch_size=8",
        STREAM + 2 * BLOCK,
    ),
    # Two towers; their embeddings are outputs.
    "clip": ("clip?size=small", 2 * (STREAM + 2 * BLOCK)),
    # Encoder and decoder with streams of their own; the decoder's cross-attention.
    "whisper": (
        "whisper?task=speech-seq2seq&size=small",
        2 * STREAM + L(64) + 2 * BLOCK + 2 * (L(96) + 2 * HEADS),
    ),
    # Depthwise convolutions, and layers of four times the width.
    "convnext": (
        "convnext?task=image-classification&hidden_sizes=[8,16,16,16]&depths=[1,1,2,1]&image_size=64",
        L(8) + 3 * L(16) + L(32) + 4 * L(64),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_form(name: str) -> None:
    model, order = CASES[name]
    report, _ = proven(f"transformers:{model}")
    assert report.derived.spec.log10_order == pytest.approx(order, abs=0.01)
