"""What counts as a model's output: its answers, without caches, losses and traces of the way."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

__all__ = ["answers"]

# On the way to an answer, kept for training, generation or curiosity.
_BY_THE_WAY = (
    "attentions",
    "auxiliary_outputs",
    "cache",
    "cache_params",
    "hidden_states",
    "loss",
    "mems",
    "past_buckets_states",
    "past_key_values",
    "router_logits",
    "rope_deltas",
    "state",
)
_FEATURES = ("last_hidden_state", "extract_features")


def answers(result: Any) -> dict[str, Tensor]:
    """The floating tensors that a model of this class is there for, by name.

    A head's answers (``logits``, ``pred_boxes``) are told from the features it was computed of
    (``last_hidden_state``, what an encoder passed on), which count only for a base model. The
    whole outputs of the two towers of a contrastive model are left out beside its embeddings.

    Raises
    ------
    TypeError
        There is no floating tensor.
    """
    if isinstance(result, Tensor):
        return {"output": result}
    named = dict(result) if isinstance(result, Mapping) else _numbered(result)
    kept: dict[str, Any] = {
        name: value
        for name, value in named.items()
        if name not in _BY_THE_WAY
        and not name.endswith(("_attentions", "_hidden_states", "_router_logits", "_loss"))
        and not name.startswith(("encoder_", "enc_outputs_"))
        and _floating(value)
    }
    plain = {n: v for n, v in kept.items() if not isinstance(v, Mapping)}
    kept = plain or kept
    heads = {n: v for n, v in kept.items() if not n.endswith(_FEATURES)}
    if "logits" in heads or not any(n in kept for n in _FEATURES):
        kept = heads or kept
    if not kept:
        kept = {n: v for n, v in named.items() if _floating(v)}
    leaves = {
        f"{name}.{number}" if number else name: leaf
        for name, value in kept.items()
        for number, leaf in enumerate(_floating(value))
    }
    if not leaves:
        raise TypeError("the model returns no floating tensor")
    return leaves


def _numbered(result: Any) -> dict[str, Any]:
    values = result if isinstance(result, (list, tuple)) else vars(result).values()
    return {f"output{number}": value for number, value in enumerate(values)}


def _floating(value: Any) -> list[Tensor]:
    value = _plain(value)
    return [
        leaf
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor) and torch.is_floating_point(leaf)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
