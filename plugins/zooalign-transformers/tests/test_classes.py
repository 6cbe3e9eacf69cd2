"""Classes of groups of transformers, worked out on paper, and elements on the modules themselves.

One layer of width 16 each. A class is named with how many independent scales and signs a unit has;
where a norm has a weight, one of each is that of the weight against what reads the norm.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from zooalign.kinds import SYMMETRIES
from zooalign.symmetry import SpecClasses, derive_classes, derive_spec
from zooalign.symmetry.trial import Trial

SIZES: Mapping[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GQA = {**SIZES, "num_key_value_heads": 2, "head_dim": 4}
GPT2 = {
    "vocab_size": 19,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 4,
    "n_inner": 24,
    "n_positions": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
T5 = {"vocab_size": 19, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4}

GATED = (24, "monomial", 1, 1)  # the one half of a GLU that no nonlinearity sees
PLAIN = (24, "permutations", 0, 0)
RELU = (24, "scaled permutations", 1, 0)
# Queries against keys and values against outputs, of each head; the same of its dims.
HEADS = (4, "monomial", 2, 2)
DIMS = (4, "invertible", 1, 1)
# Rotary embedding tells query and key dims apart. Query heads that share a key are told apart by
# nothing, and their keys are one.
GROUPED = [(2, "monomial", 2, 2), (2, "permutations", 0, 0), DIMS]

Classes = list[tuple[int, str, int, int]]
CASES: Mapping[str, tuple[str, Mapping[str, Any], Classes]] = {
    # Two norms in the layer and the last: all three can be moved into what reads them.
    "llama": (
        "LlamaForCausalLM",
        {**GQA, "tie_word_embeddings": False},
        [(16, "orthogonal", 3, 4), GATED, *GROUPED],
    ),
    # The head that reads the last norm writes the stream as well: its weight cannot be one.
    "llama, tied": (
        "LlamaForCausalLM",
        {**GQA, "tie_word_embeddings": True},
        [(16, "monomial", 2, 3), GATED, *GROUPED],
    ),
    # Norms of queries and keys fix their scales; signs stay.
    "qwen3": (
        "Qwen3ForCausalLM",
        {**GQA, "tie_word_embeddings": False},
        [(16, "orthogonal", 3, 4), GATED, (2, "monomial", 1, 2), *GROUPED[1:]],
    ),
    # A weight that is added to one has no scale, and cannot become one by any.
    "gemma": (
        "GemmaForCausalLM",
        {**GQA, "tie_word_embeddings": False},
        [(16, "signed permutations", 0, 1), GATED, *GROUPED],
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {**GPT2, "tie_word_embeddings": False},
        [(16, "orthogonal fixing ones", 3, 3), PLAIN, HEADS, DIMS, DIMS],
    ),
    "gpt2, tied": (
        "GPT2LMHeadModel",
        {**GPT2, "tie_word_embeddings": True},
        [(16, "monomial", 2, 2), PLAIN, HEADS, DIMS, DIMS],
    ),
    # Norms stand behind what is added to the stream. Only the last one is read by one layer alone.
    "bert": (
        "BertForSequenceClassification",
        SIZES,
        [(16, "monomial", 1, 1), (16, "signed permutations", 0, 1), PLAIN, HEADS, DIMS, DIMS],
    ),
    # One stream through encoder and decoder, whose last norm the shared table reads: three norms
    # and three of four are free.
    "t5": (
        "T5ForConditionalGeneration",
        T5,
        [(16, "monomial", 6, 7), *[RELU, RELU], *[HEADS] * 3, *[DIMS] * 6],
    ),
    # A quarter of each head is rotated; query, key and value of a head stand side by side.
    "gpt-neox": (
        "GPTNeoXForCausalLM",
        {**SIZES, "num_attention_heads": 2, "rotary_pct": 0.25},
        [
            (16, "orthogonal fixing ones", 3, 3),
            PLAIN,
            (2, "signed permutations", 0, 1),
            (6, "invertible", 1, 1),
            (8, "invertible", 1, 1),
        ],
    ),
}


class Logits(nn.Module):
    """What a model makes of tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        both = (
            {"decoder_input_ids": tokens}
            if hasattr(self.model, "decoder")
            else {"use_cache": False}
        )
        logits: Tensor = self.model(input_ids=tokens, **both).logits
        return logits


@pytest.mark.parametrize("name", CASES)
def test_closed_form(name: str) -> None:
    kind, fields, expected = CASES[name]
    torch.manual_seed(0)
    family = kind.partition("For")[0].partition("LMHead")[0]
    config = getattr(transformers, f"{family}Config")(**fields)
    module = Logits(getattr(transformers, kind)(config).eval())
    tokens = (torch.randint(3, 19, (2, 5)),)
    derived = derive_spec(module, tokens)
    classes = derive_classes(derived)
    sizes = {group.id: group.size for group in derived.spec.groups}
    assert Counter(
        (sizes[group], of.name, len(of.scales), len(of.signs))
        for group, of in classes.groups.items()
    ) == Counter(expected)
    trial = Trial(module, tokens, 0)
    for symmetries in SYMMETRIES[1:]:
        some = SpecClasses(derived.spec, classes.within(symmetries).groups)
        state = some.absorbed(trial.state)
        assert trial.error(state) < trial.tolerance
        assert trial.error(some.apply(some.random(1), state)) < trial.tolerance
