"""Loss and accuracy of the answers that a model's class gives."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from zooalign.plugins import Architecture, DataError

__all__ = ["IGNORED", "kind_of", "scoring", "token_correct", "token_loss"]

IGNORED = -100  # a target that is not counted
_KINDS = (
    ("causal", ("ForCausalLM", "LMHeadModel")),
    ("masked", ("ForMaskedLM",)),
    ("seq2seq", ("ForConditionalGeneration", "ForSeq2SeqLM", "WithLMHeadModel")),
)

Measure = Callable[[Any, Any], Tensor]


def kind_of(architecture: Architecture) -> str | None:
    """``causal``, ``masked`` or ``seq2seq`` for a language model, else None."""
    name = str(architecture.config.get("class", ""))
    if name == "OpenAIGPTLMHeadModel":
        return "causal"
    for kind, endings in _KINDS:
        if name.endswith(endings):
            return kind
    return None


def scoring(architecture: Architecture) -> tuple[Measure, Measure] | None:
    """Loss and metric of a language model, whose classes are on the last axis; else None."""
    return (token_loss, token_correct) if kind_of(architecture) else None


def token_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each token that counts; logits (batch, tokens, vocabulary)."""
    logits, wanted = _counted(outputs, targets)
    return F.cross_entropy(logits.float(), wanted, reduction="none")


def token_correct(outputs: Any, targets: Tensor) -> Tensor:
    """Whether the largest logit is the target, for each token that counts."""
    logits, wanted = _counted(outputs, targets)
    return logits.argmax(-1) == wanted


def _counted(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs
    if not isinstance(logits, Tensor) or logits.shape[:-1] != targets.shape:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"no token logits for targets of shape {tuple(targets.shape)}: {given}")
    counted = targets != IGNORED
    return logits[counted], torch.masked_select(targets, counted)
