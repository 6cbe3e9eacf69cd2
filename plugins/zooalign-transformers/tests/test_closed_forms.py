"""The whole group of small models against closed forms: a larger value is as wrong as a smaller."""

import pytest
from hf_forms import L, proven

# Two layers of width 64 and a vocabulary of 99, unless said otherwise.
SIZES = (
    "vocab_size=99&hidden_size=64&num_hidden_layers=2&num_attention_heads=4&intermediate_size=96"
)
GQA = (
    "vocab_size=99&hidden_size=64&num_hidden_layers=2&num_attention_heads=8&"
    "num_key_value_heads=2&head_dim=8&intermediate_size=96"
)
# Heads may change places, and the dims of query and key, and those of value, in each of them.
HEADS = L(4) + 8 * L(16)
BLOCK = L(96) + HEADS

CASES = [
    # One stream, tied to the embedding; a fused Conv1D for query, key and value.
    (
        "gpt2?task=causal-lm&vocab_size=99&n_embd=64&n_layer=2&n_head=4&n_inner=96",
        L(64) + 2 * BLOCK,
        604.99,
    ),
    # The pooler's dims are its own.
    (f"bert?task=sequence-classification&{SIZES}", 2 * L(64) + 2 * BLOCK, 694.09),
    # Full rotary embedding tells all query and key dims apart. Two key heads, each with four
    # query heads of its own.
    (f"llama?task=causal-lm&{GQA}", L(64) + 2 * (L(96) + L(2) + 2 * L(4) + 2 * L(8)), 413.64),
    # A quarter of each head's 16 dims is rotated.
    (f"gpt_neox?task=causal-lm&{SIZES}", L(64) + 2 * (L(96) + L(4) + 4 * (L(12) + L(16))), 567.86),
    # One stream through the shared embedding; self-attention heads of a stack move together, as
    # they share one bias over relative positions; cross-attention has none.
    (
        "t5?task=seq2seq-lm&vocab_size=99&d_model=64&d_kv=16&d_ff=96&num_layers=2&num_heads=4",
        L(64) + 2 * L(4) + 2 * L(4) + 48 * L(16) + 4 * L(96),
        1334.00,
    ),
]


@pytest.mark.parametrize(
    ("model", "order", "known"), CASES, ids=[c[0].split("?")[0] for c in CASES]
)
def test_the_five_of_the_design(model: str, order: float, known: float) -> None:
    assert order == pytest.approx(known, abs=0.01)
    report, _ = proven(f"transformers:{model}")
    assert report.derived.spec.log10_order == pytest.approx(order, abs=0.01)
