"""A small transformer under a random element of its classes is brought back by activations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from zooalign.kinds import Symmetries
from zooalign.matching import match
from zooalign.symmetry import SpecClasses, extract_spec
from zooalign.symmetry.trial import random_state

pytestmark = pytest.mark.slow

LLAMA: Mapping[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
}
GPT2: Mapping[str, Any] = {
    "vocab_size": 40,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 48,
    "n_positions": 32,
}


class Logits(nn.Module):
    """What a language model makes of tokens."""

    def __init__(self, kind: str, tied: bool) -> None:
        super().__init__()
        if kind == "llama":
            config = transformers.LlamaConfig(**LLAMA, tie_word_embeddings=tied)
            self.model: nn.Module = transformers.LlamaForCausalLM(config)
        else:
            self.model = transformers.GPT2LMHeadModel(
                transformers.GPT2Config(**GPT2, tie_word_embeddings=tied)
            )

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(tokens, use_cache=False).logits
        return logits


@pytest.mark.parametrize("symmetries", ["signed", "monomial", "linear"])
@pytest.mark.parametrize(
    ("kind", "tied"), [("llama", False), ("llama", True), ("gpt2", False), ("gpt2", True)]
)
def test_a_planted_element_is_undone(kind: str, tied: bool, symmetries: Symmetries) -> None:
    torch.manual_seed(0)
    module = Logits(kind, tied).eval()
    data = [torch.randint(3, 40, (16, 16)) for _ in range(5)]
    spec = extract_spec(module, (data[0][:2],), symmetries=symmetries, prove=False)
    classes = SpecClasses.of(spec)
    target, other = (
        {n: t.float() if t.is_floating_point() else t for n, t in random_state(module, s).items()}
        for s in (1, 2)
    )
    drawn = replace(classes.random(3), permutation=spec.random(3))
    source = classes.apply(classes.between(drawn, target, other), target)
    found = match(
        *(spec, target, source),
        method="activation",
        data=data,
        module=module,
        symmetries=symmetries,
    )
    assert found.element is not None
    back = classes.apply(found.element, source)
    assert max(float((back[n] - t).abs().max()) for n, t in target.items()) < 1e-5
