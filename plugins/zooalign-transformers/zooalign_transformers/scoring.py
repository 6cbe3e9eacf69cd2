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
    """Loss and metric of a language model (classes on the last axis), or of several labels.

    None for the others, whose targets say what they are.
    """
    config = architecture.config.get("config", {})
    if "Classification" in str(architecture.config.get("class", "")) and (
        config.get("problem_type") == "multi_label_classification"
    ):
        return label_loss, label_correct
    return (token_loss, token_correct) if kind_of(architecture) else None


def label_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each label of each row, as the class has it."""
    logits, wanted = _labelled(outputs, targets)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").flatten()


def label_correct(outputs: Any, targets: Tensor) -> Tensor:
    """Whether each label of each row is told rightly."""
    logits, wanted = _labelled(outputs, targets)
    return ((logits > 0) == (wanted > 0.5)).flatten()


def _labelled(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs
    if not isinstance(logits, Tensor) or logits.shape != targets.shape:
        raise DataError(
            f"targets of shape {tuple(targets.shape)} are not one yes or no for each label, as "
            "problem_type multi_label_classification has them"
        )
    return logits.float(), targets.float()


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
