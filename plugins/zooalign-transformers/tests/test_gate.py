"""Releases made with a wrong group are stopped by the release gate, and the parameter is named."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hf_models import llama
from msgspec import structs
from safetensors.torch import load_file, save_file
from zooalign.gate.check import CheckRequest, check
from zooalign.gate.findings import Finding
from zooalign.pipelines.align import align_models
from zooalign.release import layout
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import PermutationSpec, Permuted
from zooalign.symmetry.groups import Block, Group, Member
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec_file import from_json, permutation_to_dict, to_json
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import digest_of, write_model

HEADS, DIM = 4, 4  # of hf_models.llama: four query heads on two key heads


def mixtral(seed: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.MixtralConfig(
        vocab_size=18, hidden_size=16, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=12, num_local_experts=4, num_experts_per_tok=2,
        max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return transformers.MixtralForCausalLM(config).eval()


def pair(make: Any, folder: Path) -> tuple[str, str]:
    for seed, name in enumerate("ab"):
        make(seed).save_pretrained(folder / name)
    return str(folder / "a"), str(folder / "b")


def flat_heads(layer: str, order: list[int]) -> tuple[Group, np.ndarray]:
    """Query heads in any order, as they may be without grouped queries."""

    def member(parameter: str, axis: int) -> Member:
        block = Block(0, HEADS, 0, DIM, (), ((DIM, 1),))
        return Member(parameter, axis, (axis,), (block,))

    name = f"{layer}.q_proj.weight"
    group = Group(f"{name}:flat", HEADS, (member(name, 0), member(f"{layer}.o_proj.weight", 1)))
    return group, np.array(order)


def forge(out: Path, source: str, spec: PermutationSpec, permutation: Permutation) -> None:
    """A release in which spec, permutation, weights, digests and record agree and are all wrong."""
    opened = open_model(source)
    assert opened.checkpoint is not None
    moved = {n: t.clone() for n, t in Permuted(spec, permutation, opened.checkpoint).items()}
    weights = write_model(out.parent / "w", moved, layout_like=opened.checkpoint)
    (out / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    (out / layout.SPEC).write_text(to_json(spec))
    body = layout.json_bytes(permutation_to_dict(permutation))
    (out / layout.permutation_name(None)).write_bytes(body)
    digests = {name: digest_of(tensor) for name, tensor in moved.items()}
    (out / layout.DIGESTS).write_bytes(layout.json_bytes(digests))
    record = json.loads((out / layout.PROVENANCE).read_text())
    record["spec_hash"] = spec.hash
    (out / layout.PROVENANCE).write_bytes(layout.json_bytes(record))


def errors(out: Path, *parents: str) -> list[Finding]:
    return [
        found
        for found in check(str(out), CheckRequest(parents=tuple(parents))).findings
        if found.severity == "error"
    ]


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    folder = tmp_path_factory.mktemp("llamas")
    a, b = pair(llama, folder)
    align_models(a, b, str(folder / "out"), AlignSettings(method="weight"))
    assert errors(folder / "out", a, b) == []
    return a, b, folder


LAYER = "model.layers.1.self_attn"


def test_a_release_by_a_flat_group_of_grouped_query_heads(
    llamas: tuple[str, str, Path],
) -> None:
    _, b, folder = llamas
    out = folder / "out"
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    group, order = flat_heads(LAYER, [2, 1, 0, 3])
    spec = from_json((out / layout.SPEC).read_text(), layout.SPEC)
    outside = tuple(
        g for g in spec.groups if not any(m.parameter.startswith(LAYER) for m in g.members)
    )
    wrong = dataclasses.replace(spec, groups=(*outside, group))
    indices = dict(wrong.identity().indices) | {group.id: order}
    try:
        forge(out, b, wrong, dataclasses.replace(wrong.identity(), indices=indices))
        alone = errors(out)  # without parents, from the architecture alone
        assert "spec.hash" in {f.id for f in alone}
        named = {f.parameter: f.message for f in alone if f.id == "permutation.coverage"}
        assert f"{LAYER}.q_proj.weight" in named and f"{LAYER}.o_proj.weight" in named
        found = errors(out, b)
        assert "parent.function" in {f.id for f in found}
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_weights_with_flat_heads_and_no_record(llamas: tuple[str, str, Path]) -> None:
    _, b, folder = llamas
    state = load_file(Path(b) / "model.safetensors")
    group, order = flat_heads(LAYER, [2, 1, 0, 3])
    rows = (order[:, None] * DIM + np.arange(DIM)).reshape(-1)
    for member in group.members:
        moved = state[member.parameter].index_select(member.axis, torch.from_numpy(rows))
        state[member.parameter] = moved.contiguous()
    llama(1).save_pretrained(folder / "bare")
    save_file(state, folder / "bare" / "model.safetensors", metadata={"format": "pt"})
    found = [f for f in errors(folder / "bare", b) if f.id == "parent.reordered"]
    assert any("computes something else" in f.message for f in found)
    assert {f.parameter for f in found} & {m.parameter for m in group.members}


@pytest.mark.slow
def test_a_release_whose_experts_left_their_router(tmp_path: Path) -> None:
    a, b = pair(mixtral, tmp_path)
    out = tmp_path / "out"
    align_models(a, b, str(out), AlignSettings(method="weight"))
    assert errors(out, a, b) == []
    spec = from_json((out / layout.SPEC).read_text(), layout.SPEC)
    (experts,) = (
        g for g in spec.groups if g.size == 4 and any("experts" in m.parameter for m in g.members)
    )
    router = "model.layers.0.mlp.gate.weight"
    assert router in {m.parameter for m in experts.members}
    less = structs.replace(
        experts, members=tuple(m for m in experts.members if m.parameter != router)
    )
    wrong = dataclasses.replace(
        spec, groups=tuple(less if g is experts else g for g in spec.groups)
    )
    indices = dict(wrong.identity().indices)
    indices[less.id] = np.roll(indices[less.id], 1)
    forge(out, b, wrong, dataclasses.replace(wrong.identity(), indices=indices))
    alone = errors(out)
    named = {f.parameter: f.message for f in alone if f.id == "permutation.coverage"}
    assert list(named) == [router]
    assert "nothing moves it" in named[router]
    found = errors(out, b)
    assert "parent.function" in {f.id for f in found}
