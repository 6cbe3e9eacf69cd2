"""Texts, and what stands in the place of a text."""

from typing import Any

import torch
from torch import nn

from zooalign_transformers import inputs
from zooalign_transformers.inputs import normal

__all__ = [
    "canvas",
    "embedded",
    "globally",
    "in_patches",
    "noise",
    "protein",
    "queries",
    "question",
    "text",
    "text_without_mask",
    "told",
]


def text(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return dict(inputs.text(config, batch, generator))


def text_without_mask(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    made = {"input_ids": inputs.text(config, batch, generator)["input_ids"]}
    if getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = inputs.tokens(config, batch, generator)
    return made


def question(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    made = inputs.text(config.qformer_config, batch, generator)
    return {
        **text(model, config, batch, generator),
        "qformer_input_ids": made["input_ids"],
        "qformer_attention_mask": made["attention_mask"],
    }


def queries(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    width = config.hidden_size
    context = getattr(config, "encoder_hidden_size", width)
    return {
        "query_embeds": normal(batch, 4, width, generator=generator),
        "encoder_hidden_states": normal(batch, 6, context, generator=generator),
    }


def embedded(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"inputs_embeds": normal(batch, inputs.TOKENS, config.hidden_size, generator=generator)}


def noise(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Embeddings to refine, and the states they are refined by."""
    width = config.hidden_size
    layers = len(getattr(config, "target_layer_ids", None) or ()) or 1
    return {
        "noise_embeds": normal(batch, 4, width, generator=generator),
        "context_hidden_states": normal(batch, 6, layers * width, generator=generator),
        "attention_mask": torch.ones((batch, 10), dtype=torch.long),  # of both
    }


def canvas(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text, and the tokens to be refined, which the model would draw at random."""
    return {
        **inputs.text(config, batch, generator),
        "decoder_input_ids": inputs.tokens(config.get_text_config(), batch, generator),
    }


def globally(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text in which the first token attends to all, so that its projections are reached."""
    made = inputs.text(config, batch, generator)
    everywhere = torch.zeros_like(made["input_ids"])
    everywhere[:, 0] = 1
    if getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = inputs.tokens(config, batch, generator)
    return {**made, "global_attention_mask": everywhere}


def told(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """Text of a part that is called ``model_config``."""
    return dict(inputs.text(config.model_config, batch, generator))


def protein(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Text, and a protein that it is about."""
    protein = inputs.text(config.protein_encoder_config, batch, generator)
    made = {f"protein_{name}": value for name, value in protein.items()}
    return {**inputs.text(config, batch, generator), **made}


def in_patches(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Bytes, and how they are grouped, which the model would decide by a network of its own."""
    lengths = torch.tensor([[1, 3, 3, inputs.TOKENS - 6]] * batch)
    return {**inputs.text(config, batch, generator), "patch_lengths": lengths}
