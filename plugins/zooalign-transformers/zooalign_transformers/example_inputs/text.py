"""Texts, and what stands in the place of a text."""

import torch

from zooalign_transformers.example_inputs import basic
from zooalign_transformers.example_inputs.basic import InputRequest, Inputs

__all__ = [
    "bytes_in_patches",
    "input_embeddings",
    "noise_embeddings",
    "query_embeddings",
    "text",
    "text_and_decoder_tokens",
    "text_and_protein",
    "text_and_question",
    "text_of_model_config",
    "text_with_global_attention",
    "text_without_mask",
]


def text(request: InputRequest) -> Inputs:
    """Tokens and their mask."""
    return dict(basic.text(request))


def text_without_mask(request: InputRequest) -> Inputs:
    """Tokens alone, and the start of the answer of an encoder-decoder."""
    tensors = {"input_ids": basic.text(request)["input_ids"]}
    if getattr(request.config, "is_encoder_decoder", False):
        tensors["decoder_input_ids"] = basic.tokens(request)
    return tensors


def text_and_question(request: InputRequest) -> Inputs:
    """Text, and the question for the Q-Former."""
    tensors = basic.text(request.of(request.config.qformer_config))
    return {
        **text(request),
        "qformer_input_ids": tensors["input_ids"],
        "qformer_attention_mask": tensors["attention_mask"],
    }


def query_embeddings(request: InputRequest) -> Inputs:
    """Embeddings of queries, and the states they attend to."""
    width = request.config.hidden_size
    context = getattr(request.config, "encoder_hidden_size", width)
    return {
        "query_embeds": request.normal(request.batch, 4, width),
        "encoder_hidden_states": request.normal(request.batch, 6, context),
    }


def input_embeddings(request: InputRequest) -> Inputs:
    """Embeddings in place of tokens."""
    return {
        "inputs_embeds": request.normal(request.batch, basic.TOKENS, request.config.hidden_size)
    }


def noise_embeddings(request: InputRequest) -> Inputs:
    """Embeddings to refine, and the states they are refined by."""
    width = request.config.hidden_size
    layers = len(getattr(request.config, "target_layer_ids", None) or ()) or 1
    return {
        "noise_embeds": request.normal(request.batch, 4, width),
        "context_hidden_states": request.normal(request.batch, 6, layers * width),
        "attention_mask": torch.ones((request.batch, 10), dtype=torch.long),  # of both
    }


def text_and_decoder_tokens(request: InputRequest) -> Inputs:
    """Text, and the tokens to be refined, which the model would draw at random."""
    return {
        **basic.text(request),
        "decoder_input_ids": basic.tokens(request.of(request.config.get_text_config())),
    }


def text_with_global_attention(request: InputRequest) -> Inputs:
    """Text in which the first token attends to all, so that its projections are reached."""
    tensors = basic.text(request)
    everywhere = torch.zeros_like(tensors["input_ids"])
    everywhere[:, 0] = 1
    if getattr(request.config, "is_encoder_decoder", False):
        tensors["decoder_input_ids"] = basic.tokens(request)
    return {**tensors, "global_attention_mask": everywhere}


def text_of_model_config(request: InputRequest) -> Inputs:
    """Text of a part that is called ``model_config``."""
    return dict(basic.text(request.of(request.config.model_config)))


def text_and_protein(request: InputRequest) -> Inputs:
    """Text, and a protein that it is about."""
    protein = basic.text(request.of(request.config.protein_encoder_config))
    tensors = {f"protein_{name}": value for name, value in protein.items()}
    return {**basic.text(request), **tensors}


def bytes_in_patches(request: InputRequest) -> Inputs:
    """Bytes, and how they are grouped, which the model would decide by a network of its own."""
    lengths = torch.tensor([[1, 3, 3, basic.TOKENS - 6]] * request.batch)
    return {**basic.text(request), "patch_lengths": lengths}
