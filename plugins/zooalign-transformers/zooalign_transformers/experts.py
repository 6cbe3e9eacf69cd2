"""Mixtures of experts in a form whose symmetries can be read off the graph.

transformers sorts tokens by expert, or loops over the experts that were chosen: neither can be
traced. Here every expert answers for every token, and those not chosen get the weight zero: the
same sum in another order. Outside of a trace the experts that were chosen are computed alone, so
a numeric check runs transformers' own computation against the spec of this one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["expert_weights", "use_traceable_experts"]

_NAME = "zooalign"
# Gathering each token's own weights is for small models: beyond this, all experts at once.
_MOST_GATHERED = 2**26


def use_traceable_experts(model: nn.Module) -> None:
    """Let all mixtures of experts in ``model`` compute as described above."""
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:  # a transformers before expert interfaces
        return
    if _NAME not in ALL_EXPERTS_FUNCTIONS:
        ALL_EXPERTS_FUNCTIONS.register(_NAME, _experts)
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "_experts_implementation_internal"):
            config._experts_implementation_internal = _NAME


def _experts(module: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """``hidden`` (tokens, width); ``chosen`` and ``weights`` (tokens, experts a token)."""
    from transformers.integrations.moe import batched_mm_experts_forward

    first = module.gate_up_proj if module.has_gate else module.up_proj
    gathered = chosen.numel() * first.numel() // first.shape[0]
    if not torch.compiler.is_exporting() and gathered <= _MOST_GATHERED:
        result: Tensor = batched_mm_experts_forward(module, hidden, chosen, weights)
        return result
    return _all_experts(module, first, hidden, chosen, weights)


def expert_weights(chosen: Tensor, weights: Tensor, experts: int) -> Tensor:
    """The weight of every expert for every token, zero for those that were not chosen.

    ``chosen`` and ``weights`` are (tokens, experts a token), the result is (tokens, experts).
    """
    marks = F.one_hot(chosen, experts).to(weights.dtype)  # (tokens, experts a token, experts)
    return (marks * weights.unsqueeze(-1)).sum(1)


def _all_experts(
    module: Any, first: Tensor, hidden: Tensor, chosen: Tensor, weights: Tensor
) -> Tensor:
    shares = expert_weights(chosen, weights, first.shape[0])
    transposed = module.is_transposed
    units = torch.einsum("th,ehi->tei" if transposed else "th,eih->tei", hidden, first)
    if module.has_bias:
        units = units + (module.gate_up_proj_bias if module.has_gate else module.up_proj_bias)
    units = module._apply_gate(units) if module.has_gate else module.act_fn(units)
    answers = torch.einsum(
        "tei,eih->teh" if transposed else "tei,ehi->teh", units, module.down_proj
    )
    if module.has_bias:
        answers = answers + module.down_proj_bias
    if module.has_post_expert_norm:
        answers = module.post_expert_norm(answers)
    return torch.einsum("te,teh->th", shares.to(answers.dtype), answers).to(hidden.dtype)
