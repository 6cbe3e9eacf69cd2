"""Steps of single models that a trace cannot follow, in a form that it can.

Each is a step whose shapes depend on what the network computes. Its replacement reads the same
parameters along the same axes, so what is derived from the trace holds for the original; the
numeric check runs the original.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zooalign_transformers.experts import expert_weights

__all__ = ["replacements"]

_MODELS = "transformers.models"


def replacements() -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """What to replace in the models that are imported.

    Yields the owner, the attribute and the function from the original to its replacement.
    """
    for (name, owner, attribute), replacement in _REPLACED.items():
        module: Any = sys.modules.get(f"{_MODELS}.{name}")
        if module is not None:
            yield (getattr(module, owner) if owner else module), attribute, replacement
    for name, loaded in list(sys.modules.items()):
        for attribute in _CHUNKED if name.startswith(f"{_MODELS}.") else ():
            if hasattr(loaded, attribute):
                yield loaded, attribute, _with_short_chunks


def _with_short_chunks(original: Any) -> Any:
    """A recurrence that is computed chunk by chunk, with short ones: texts here are short.

    The chunk's length changes nothing but the order of additions, and a trace grows with it.
    """
    return functools.partial(original, chunk_size=_CHUNK)


def _dbrx_all_experts(original: Any) -> Any:
    """DBRX loops over the experts that were chosen: here all answer, some with the weight zero."""

    def forward(
        self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Any:
        batch, (count, units) = hidden_states.shape[0], (self.num_experts, self.ffn_hidden_size)
        rows = hidden_states.reshape(-1, self.hidden_size)
        shares = expert_weights(top_k_index, top_k_weights, count)
        shape = (count, units, self.hidden_size)
        gate = torch.einsum("th,euh->teu", rows, self.mlp.w1.view(shape))
        up = torch.einsum("th,euh->teu", rows, self.mlp.v1.view(shape))
        inner = self.mlp.activation_fn(gate) * up
        answers = torch.einsum("teu,euh->teh", inner, self.mlp.w2.view(shape))
        return torch.einsum("te,teh->th", shares, answers).view(batch, -1, self.hidden_size)

    return forward


def _longcat_all_experts(original: Any) -> Any:
    """The same for LongCat, where some experts leave what they are given as it is."""

    def forward(self: Any, rows: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        count = self.num_routed_experts
        shares = expert_weights(chosen, weights, self.total_experts)
        inner = torch.einsum("th,euh->teu", rows, self.gate_up_proj[:count])
        gate, up = inner.chunk(2, dim=-1)
        answers = torch.einsum("teu,ehu->teh", self.act_fn(gate) * up, self.down_proj)
        kept = shares[:, count:].sum(-1, keepdim=True) * rows
        return (torch.einsum("te,teh->th", shares[:, :count], answers) + kept).to(rows.dtype)

    return forward


def _switch_all_experts(original: Any) -> Any:
    """The same for experts that are modules of their own."""

    def forward(
        self: Any, hidden_states: Tensor, selected_experts: Tensor, routing_weights: Tensor
    ) -> Tensor:
        shares = selected_experts[:, 0].to(routing_weights.dtype) * routing_weights
        experts = [self[f"expert_{number}"] for number in range(self.num_experts)]
        answers = torch.stack([expert(hidden_states) for expert in experts], 1)
        return torch.einsum("te,teh->th", shares, answers).to(hidden_states.dtype)

    return forward


def _fastspeech_tokens_once(original: Any) -> Any:
    """FastSpeech repeats tokens as often as it predicts: here each stands once.

    Tokens are told apart anyhow. The predictions are added, so that they have to stay the same.
    """

    def regulate(embeddings: Tensor, durations: Tensor, speaking_speed: float = 1.0) -> Tensor:
        return embeddings + durations.unsqueeze(-1)

    return regulate


def _jetmoe_routing(router: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    """JetMoE's choice of experts: marks (rows, rank, experts) and weights (rows, rank)."""
    logits, chosen = router.layer(rows).float().topk(router.top_k, dim=1)
    gates = torch.softmax(logits, dim=1).type_as(rows)
    return F.one_hot(chosen, router.num_experts).to(gates.dtype), gates


def _jetmoe_all_experts(original: Any) -> Any:
    """Every expert answers, some with the weight zero, instead of rows sorted by expert."""

    def forward(self: Any, layer_input: Tensor) -> Tensor:
        rows = layer_input.reshape(-1, layer_input.shape[-1])
        marks, gates = _jetmoe_routing(self.router, rows)
        inner = torch.einsum("th,eoh->teo", rows, self.input_linear.weight)
        first, second = inner.chunk(2, dim=-1)
        inner = self.activation(first) * second
        answers = torch.einsum("teo,eho->teh", inner, self.output_linear.weight)
        shares = (marks * gates.unsqueeze(-1)).sum(1)
        result: Tensor = torch.einsum("te,teh->th", shares, answers)
        result = result.view(layer_input.shape) + self.bias
        return result

    return forward


def _jetmoe_queries(original: Any) -> Any:
    """The queries of every expert, of which each rank has those of the expert it chose."""

    def map(self: Any, layer_input: Tensor) -> Any:
        rows = layer_input.reshape(-1, layer_input.shape[-1])
        marks, gates = _jetmoe_routing(self.router, rows)
        queries = torch.einsum("th,eoh->teo", rows, self.input_linear.weight)
        attended = torch.einsum("tke,teo->tko", marks, queries)
        return attended.view(*layer_input.shape[:2], self.top_k, -1), None, (marks, gates)

    return map


def _jetmoe_outputs(original: Any) -> Any:
    """What the expert of each rank makes of the attention of its queries, weighted."""

    def reduce(self: Any, layer_input: Tensor, topo_info: tuple[Tensor, Tensor]) -> Tensor:
        marks, gates = topo_info
        rows = layer_input.reshape(-1, *layer_input.shape[2:])
        answers = torch.einsum("tko,eho->tkeh", rows, self.output_linear.weight)
        chosen = torch.einsum("tke,tkeh->tkh", marks, answers)
        result = (chosen * gates.unsqueeze(-1)).sum(1).view(*layer_input.shape[:2], -1)
        biased: Tensor = result + self.bias
        return biased

    return reduce


def _oneformer_all_rows(original: Any) -> Any:
    """OneFormer lets queries that may look nowhere look everywhere: here all rows are computed."""

    def forward(
        self: Any,
        index: int,
        output: Tensor,
        multi_stage_features: list[Tensor],
        multi_stage_positional_embeddings: list[Tensor],
        attention_mask: Tensor,
        query_embeddings: Tensor | None = None,
        output_attentions: bool | None = False,
    ) -> tuple[Tensor]:
        level = index % self.num_feature_levels
        some = attention_mask.sum(-1, keepdim=True) != attention_mask.shape[-1]
        output, _ = self.cross_attn(
            output,
            multi_stage_features[level],
            memory_mask=attention_mask & some,
            pos=multi_stage_positional_embeddings[level],
            query_pos=query_embeddings,
        )
        output, _ = self.self_attn(output, query_pos=query_embeddings)
        return (self.ffn(output),)

    return forward


def _vision_attention_with_norms(original: Any) -> Any:
    """transformers' own replacement of this attention leaves out the norms of queries and keys.

    Segments are images, here all of one size.
    """

    def forward(
        self: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: Any, **_: Any
    ) -> Tensor:
        length, segments = hidden_states.shape[0], cu_seqlens.shape[0] - 1
        parts = self.qkv(hidden_states).reshape(length, 3, self.num_heads, -1)
        query, key, value = parts.transpose(0, 1).unbind(0)
        rotate = sys.modules[type(self).__module__].apply_rotary_pos_emb_vision
        query, key = rotate(self.q_norm(query), self.k_norm(key), *position_embeddings)
        query, key, value = (
            x.unflatten(0, (segments, -1)).transpose(1, 2) for x in (query, key, value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scaling)
        result: Tensor = self.proj(attended.transpose(1, 2).reshape(length, -1))
        return result

    return forward


_CHUNKED, _CHUNK = ("torch_chunk_gated_delta_rule", "chunk_kimi_delta_attention"), 8
# By module of transformers.models, class ("" for a function) and attribute.
_REPLACED: dict[tuple[str, str, str], Callable[[Any], Any]] = {
    (f"{name}.modeling_{name}", owner, attribute): replacement
    for name, owner, attribute, replacement in (
        ("dbrx", "DbrxExperts", "forward", _dbrx_all_experts),
        ("longcat_flash", "LongcatFlashExperts", "forward", _longcat_all_experts),
        ("oneformer", "OneFormerTransformerDecoderLayer", "forward", _oneformer_all_rows),
        ("switch_transformers", "SwitchTransformersExperts", "forward", _switch_all_experts),
        ("glm_ocr", "GlmOcrVisionAttention", "forward", _vision_attention_with_norms),
        ("dots3_note", "Dots3NoteVisionAttention", "forward", _vision_attention_with_norms),
        ("jetmoe", "JetMoeMoE", "forward", _jetmoe_all_experts),
        ("jetmoe", "JetMoeMoA", "map", _jetmoe_queries),
        ("jetmoe", "JetMoeMoA", "reduce", _jetmoe_outputs),
        ("fastspeech2_conformer", "", "length_regulator", _fastspeech_tokens_once),
    )
}
