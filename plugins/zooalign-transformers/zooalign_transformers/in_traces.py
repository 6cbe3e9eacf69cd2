"""Steps of single models that a trace cannot follow, in a form that it can.

Each is a step whose shapes depend on what the network computes. Its replacement reads the same
parameters along the same axes, so what is derived from the trace holds for the original; the
numeric check runs the original.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["replacements"]

_MODELS = "transformers.models"


def replacements() -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """The owner, the attribute and what makes the replacement, of models that are imported."""
    for (module, owner, attribute), made in _REPLACED.items():
        found: Any = sys.modules.get(f"{_MODELS}.{module}")
        if found is not None:
            yield (getattr(found, owner) if owner else found), attribute, made


def _every_expert(original: Any) -> Any:
    """DBRX loops over the experts that were chosen: here all answer, some with the weight zero."""

    def forward(
        self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Any:
        batch, (count, units) = hidden_states.shape[0], (self.num_experts, self.ffn_hidden_size)
        rows = hidden_states.reshape(-1, self.hidden_size)
        marks = F.one_hot(top_k_index, count).to(top_k_weights.dtype)
        shares = (marks * top_k_weights.unsqueeze(-1)).sum(1)
        shape = (count, units, self.hidden_size)
        gate = torch.einsum("th,euh->teu", rows, self.mlp.w1.view(shape))
        up = torch.einsum("th,euh->teu", rows, self.mlp.v1.view(shape))
        inner = self.mlp.activation_fn(gate) * up
        answers = torch.einsum("teu,euh->teh", inner, self.mlp.w2.view(shape))
        return torch.einsum("te,teh->th", shares, answers).view(batch, -1, self.hidden_size)

    return forward


def _once_each(original: Any) -> Any:
    """FastSpeech repeats tokens as often as it predicts: here each stands once.

    Tokens are told apart anyhow. The predictions are added, so that they have to stay the same.
    """

    def regulate(embeddings: Tensor, durations: Tensor, speaking_speed: float = 1.0) -> Tensor:
        return embeddings + durations.unsqueeze(-1)

    return regulate


_REPLACED: dict[tuple[str, str, str], Callable[[Any], Any]] = {
    ("dbrx.modeling_dbrx", "DbrxExperts", "forward"): _every_expert,
    (
        "fastspeech2_conformer.modeling_fastspeech2_conformer",
        "",
        "length_regulator",
    ): _once_each,
}
